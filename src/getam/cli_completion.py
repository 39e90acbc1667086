"""`getam completion`: a script for the shell, made by tyro from the same signatures as the help."""

from __future__ import annotations

import contextlib
import io
from typing import Literal

Shell = Literal["bash", "zsh", "fish"]
BASH_END = """
# `getam data check` is `getam data-check`; where nothing is known, files.
_getam() {
  local word=${COMP_WORDS[COMP_CWORD]} first=
  if [[ ${COMP_WORDS[1]} == data && $COMP_CWORD -gt 1 ]]; then
    COMP_WORDS=(getam "data-${COMP_WORDS[2]}" "${COMP_WORDS[@]:3}")
    COMP_CWORD=$((COMP_CWORD - 1))
    [[ $COMP_CWORD -eq 1 ]] && first=data-
  fi
  _tyro_getam
  COMPREPLY=("${COMPREPLY[@]#"$first"}")
  [[ ${COMPREPLY[*]} ]] || mapfile -t COMPREPLY < <(compgen -f -- "$word")
}
complete -o filenames -F _getam getam
"""


def completion(shell: Shell, /) -> str:
    """Print a script by which a shell completes verbs and options.

    Made anew after an update, it knows the new options.

    Args:
        shell: which one.

    Returns:
        The script.
    """
    from getam.cli import parse
    from getam.cli_verbs import VERBS

    script = io.StringIO()
    with contextlib.redirect_stdout(script), contextlib.suppress(SystemExit):
        parse(["--tyro-print-completion", shell], whole=tuple(VERBS))
    return script.getvalue().rstrip() + (BASH_END.rstrip() if shell == "bash" else "")
