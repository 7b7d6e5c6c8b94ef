"""How commands and scripts end."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable

from lisa.extras import MissingPackageError

REFUSED, INTERRUPTED = 2, 130


def exit_with_sentence(main: Callable[[], object]) -> None:
    """Run a script's main, whose exit code is what it returns if that is an int.

    What the user can mend ends in one line on stderr and exit code 2.
    """
    if not sys.stderr.isatty():
        os.environ.setdefault("TQDM_DISABLE", "1")  # the bars of transformers, which a log cannot hold
    try:
        result = main()
    except BrokenPipeError:  # whoever read the output has read enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(REFUSED) from None
    except (ValueError, OSError, MissingPackageError) as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(REFUSED) from None
    except KeyboardInterrupt:
        raise SystemExit(INTERRUPTED) from None
    if isinstance(result, int) and result:
        raise SystemExit(result)
