"""Importing this module lets idle OpenMP threads sleep instead of spin; import it before torch.

Spinning threads answer sooner on a quiet machine, but where processes share cores they take the
time that another one needs: beside one busy process on two cores, short texts were encoded three to
five times as fast with sleeping threads, on a quiet machine a tenth slower. A variable that is set
stays as it is. The OpenMP library reads the variables once, when torch loads it.
"""

import os

for _name, _value in (("OMP_WAIT_POLICY", "PASSIVE"), ("KMP_BLOCKTIME", "0")):
    os.environ.setdefault(_name, _value)
