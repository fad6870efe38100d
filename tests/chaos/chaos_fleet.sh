#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# Some rounds of faults of a fleet that are the same every time; `make chaos` has minutes of it from a seed of its own.
exec "$(dirname "$0")/fleet.py" --seed 6 --seconds 10
