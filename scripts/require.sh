#!/bin/sh
# Names what a command needs and this machine lacks, with the one line that installs it, before anything starts.
#   require.sh python PYTHON   Python >= 3.11 with venv
#   require.sh demo            what `make demo` cannot do without: a C compiler and bubblewrap
#   require.sh test            says what will be skipped; never fails

missing=""
command -v gcc >/dev/null 2>&1 || missing="$missing gcc"
command -v bwrap >/dev/null 2>&1 || missing="$missing bubblewrap"
echo '#include <stdio.h>' | gcc -E - >/dev/null 2>&1 || case " $missing " in *" gcc "*) ;; *) missing="$missing libc6-dev" ;; esac

case "$1" in
python)
  "$2" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || {
    echo "Perdure needs Python 3.11 or newer; \`$2\` is not. Say which to use: make PYTHON=python3.11 setup" >&2
    exit 1
  }
  "$2" -c 'import ensurepip, venv' 2>/dev/null || {
    echo "Python's venv module is missing. Install it: sudo apt-get install python3-venv" >&2
    exit 1
  }
  ;;
demo)
  [ -z "$missing" ] || {
    echo "The demo compiles C kernels in a sandbox and lacks:$missing" >&2
    echo "Install them: sudo apt-get install$missing" >&2
    exit 1
  }
  ;;
test)
  [ -z "$missing" ] || echo "Tests that need$missing will be skipped. To run them: sudo apt-get install$missing"
  ;;
esac
