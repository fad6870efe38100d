#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# Some seconds of chaos that are the same every time; `make chaos` has minutes of it from a seed of its own.
exec "$(dirname "$0")/chaos.py" --seed 6 --seconds 40
