// SPDX-License-Identifier: GPL-2.0-only
#include <string.h>

#include "redis/slot.h"

/* CRC-16/XMODEM. Bit by bit: keys are hashed once per command, and commands carry a hundred fields. */
static uint16_t crc16(const char *bytes, size_t len)
{
	uint16_t crc = 0;

	for (size_t i = 0; i < len; i++) {
		crc ^= (uint16_t)((unsigned char)bytes[i] << 8);
		for (int bit = 0; bit < 8; bit++)
			crc = crc & 0x8000 ? (crc << 1) ^ 0x1021 : crc << 1;
	}
	return crc;
}

uint16_t eb_slot_of_key(const char *key)
{
	const char *open = strchr(key, '{'), *close = open ? strchr(open, '}') : NULL;

	if (close && close > open + 1)
		return crc16(open + 1, close - open - 1) % EB_SLOTS_OF_CLUSTER;
	return crc16(key, strlen(key)) % EB_SLOTS_OF_CLUSTER;
}
