"""Objects of which there are no copies."""

from typing import NoReturn, SupportsIndex


class Unique:
    """An object that releases something of the kernel when it ends. A copy of it would release the same, so that there is none: neither by
    `copy` nor by `pickle`."""

    def __reduce_ex__(self, _: SupportsIndex) -> NoReturn:
        raise TypeError(f"a {type(self).__name__} cannot be copied or pickled")
