#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# A source has one budget on all nodes of a fleet: at any moment no more passes on all together than the stated bound,
# and once the burst is spent, what passes is the rule's rate, to a thousandth.
# shellcheck source=../lib/fleet.sh
. "$(dirname "$0")/../lib/fleet.sh"

make_fleet "${NODES:-3}"
fleet_rules | fleet_config
start_fleet

spend 10.8.0.1
in_turns 10.8.0.1 "$(seq -s ' ' "$nodes")"
exactly 10.8.0.1

spend 10.8.0.2
# shellcheck disable=SC2046 # words
in_turns 10.8.0.2 $(seq "$nodes")
exactly 10.8.0.2

# By bytes.
spend 10.9.0.3
in_turns 10.9.0.3 "1 2" 1 "$(seq -s ' ' "$nodes")" "$nodes"
exactly 10.9.0.3

on_each_node stop_node
