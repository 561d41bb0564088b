"""``python -m toymodel`` is the command ``toymodel``."""

from toymodel.cli import main

main()
