"""How commands and scripts end."""

from __future__ import annotations

import sys
from collections.abc import Callable

from lisa.extras import MissingPackageError

REFUSED, INTERRUPTED = 2, 130


def exit_with_sentence(main: Callable[[], object]) -> None:
    """Run a script's main, whose exit code is what it returns if that is an int.

    What the user can mend ends in one line on stderr and exit code 2.
    """
    try:
        result = main()
    except (ValueError, OSError, MissingPackageError) as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(REFUSED) from None
    except KeyboardInterrupt:
        raise SystemExit(INTERRUPTED) from None
    if isinstance(result, int) and result:
        raise SystemExit(result)
