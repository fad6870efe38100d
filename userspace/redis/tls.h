/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * TLS over OpenSSL 3, for a socket that does not block. Alone sees OpenSSL.
 *
 * A peer is accepted when its chain leads to a known authority and its certificate is for the name that was asked for,
 * or the address, where that is all there is.
 */
#ifndef EB_TLS_H
#define EB_TLS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct eb_tls;         /* opaque: authorities and own certificate */
struct eb_tls_session; /* opaque: one connection */

/* Any path may be NULL: the system's authorities, no certificate. Reads nothing yet. Returns 0 or -ENOMEM. */
int eb_tls_new(const char *ca, const char *cert, const char *key, struct eb_tls **out);

/* Accepts NULL. Sessions may outlive it. */
void eb_tls_free(struct eb_tls *tls);

/* A session over the connected `fd`, with the files as they are by now: certificates are exchanged without a restart.
 * While they cannot be used, what they said before counts. `fd` stays the caller's. `name`: host name or numeric
 * address that the peer's certificate must be for. Returns 0, -ENOMEM, or -EINVAL where the files could never be used,
 * with *error, malloc'ed, one line naming the file. */
int eb_tls_open(struct eb_tls *tls, int fd, const char *name, struct eb_tls_session **out, char **error);

/* Accepts NULL. Does not close the descriptor. */
void eb_tls_close(struct eb_tls_session *session);

/* 0 when done; -EAGAIN; -EPROTO, and eb_tls_error() says why. */
int eb_tls_handshake(struct eb_tls_session *session);

/* As recv() and send(): bytes, 0 at the end (read only), -EAGAIN, or -EPROTO with eb_tls_error(). A write that
 * returned -EAGAIN must be repeated with the same bytes, or more of them. */
ssize_t eb_tls_read(struct eb_tls_session *session, char *buf, size_t size);
ssize_t eb_tls_write(struct eb_tls_session *session, const char *buf, size_t size);

/* Bytes that came over the socket so far, decrypted or not. */
uint64_t eb_tls_received(const struct eb_tls_session *session);

/* Bytes that were received but not read: no event will announce them. */
bool eb_tls_has_pending(const struct eb_tls_session *session);

/* What the last call that returned -EAGAIN waits for: readable or, true, writable. */
bool eb_tls_wants_write(const struct eb_tls_session *session);

const char *eb_tls_error(const struct eb_tls_session *session);

#endif
