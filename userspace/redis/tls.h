/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * TLS with OpenSSL 3, for a non-blocking socket. Only this module uses OpenSSL.
 *
 * A peer is accepted if its chain leads to a known authority, and if its certificate is for the requested name, or for
 * the address if there is no name.
 */
#ifndef EB_TLS_H
#define EB_TLS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct eb_tls;         /* opaque: authorities and the client certificate */
struct eb_tls_session; /* opaque: one connection */

/* The paths are copied. `ca` NULL selects the authorities of the system; `cert` and `key` NULL, no client certificate.
 * Reads no file yet. Returns 0 or -ENOMEM. */
int eb_tls_new(const char *ca, const char *cert, const char *key, struct eb_tls **out);

/* Accepts NULL. Sessions can outlive it. */
void eb_tls_free(struct eb_tls *tls);

/* Opens a session over the connected `fd`, which the caller keeps. Reads the files again, so that certificates can be
 * replaced without a restart; while they are unusable, their previous content is used. `name` is the host name or
 * numeric address that the certificate of the peer must contain. Returns 0, -ENOMEM, or -EINVAL if the files were never
 * usable, with a malloc'ed line in *error that names the file. */
int eb_tls_open(struct eb_tls *tls, int fd, const char *name, struct eb_tls_session **out, char **error);

/* Accepts NULL. Does not close the descriptor. */
void eb_tls_close(struct eb_tls_session *session);

/* Returns 0 when the handshake is complete, -EAGAIN, or -EPROTO; then eb_tls_error() says why. */
int eb_tls_handshake(struct eb_tls_session *session);

/* Like recv() and send(): return the number of bytes, 0 at the end (only read), -EAGAIN, or -EPROTO with
 * eb_tls_error(). A write that returned -EAGAIN must be repeated with the same bytes; further bytes can follow them. */
ssize_t eb_tls_read(struct eb_tls_session *session, char *buf, size_t size);
ssize_t eb_tls_write(struct eb_tls_session *session, const char *buf, size_t size);

/* The number of bytes received from the socket so far, whether decrypted or not. */
uint64_t eb_tls_received(const struct eb_tls_session *session);

/* Whether bytes were received from the socket but not read yet: no event will announce them. */
bool eb_tls_has_pending(const struct eb_tls_session *session);

/* Whether the last call that returned -EAGAIN waits until the socket is writable; false: readable. */
bool eb_tls_wants_write(const struct eb_tls_session *session);

/* Why the last call returned -EPROTO; one line, which belongs to the session. */
const char *eb_tls_error(const struct eb_tls_session *session);

#endif
