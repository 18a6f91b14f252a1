"""The checks of the contract, one file a group or two."""
