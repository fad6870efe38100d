# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=bash
#
# jq -e, -er, -en ...: does not hold either where there is no result, as with no input at all. jq 1.6 says that it does.
jq() {
	local results status=0
	case $1 in
	-e*) ;;
	*)
		command jq "$@"
		return
		;;
	esac
	results=$(command jq "$@") || status=$?
	printf '%s\n' "$results"
	[ -n "$results" ] && return "$status"
}
