from tests.serve.fixtures import *  # noqa: F403
