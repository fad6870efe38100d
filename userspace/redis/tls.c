// SPDX-License-Identifier: GPL-2.0-only
#include <arpa/inet.h>
#include <errno.h>
#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "redis/tls.h"

struct eb_tls {
	char *ca, *cert, *key; /* files; NULL where there is none */
	SSL_CTX *ctx; /* NULL until the files could be used */
};

struct eb_tls_session {
	SSL *ssl;
	int fd;
	uint64_t received;
	bool wants_write;
	char error[256];
};

/* OpenSSL's own socket BIO calls write(), and a peer that is gone would raise SIGPIPE. */
static int bio_write(BIO *bio, const char *buf, int len)
{
	const struct eb_tls_session *session = BIO_get_data(bio);
	ssize_t n = send(session->fd, buf, len, MSG_NOSIGNAL);

	BIO_clear_retry_flags(bio);
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		BIO_set_retry_write(bio);
	return n;
}

static int bio_read(BIO *bio, char *buf, int len)
{
	struct eb_tls_session *session = BIO_get_data(bio);
	ssize_t n = recv(session->fd, buf, len, 0);

	BIO_clear_retry_flags(bio);
	if (n > 0)
		session->received += n;
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		BIO_set_retry_read(bio);
	else if (n == 0)
		BIO_set_flags(bio, BIO_FLAGS_IN_EOF);
	return n;
}

static long bio_ctrl(BIO *bio, int cmd, long num, void *ptr)
{
	(void)num;
	(void)ptr;
	if (cmd == BIO_CTRL_EOF)
		return BIO_test_flags(bio, BIO_FLAGS_IN_EOF) != 0;
	return cmd == BIO_CTRL_FLUSH;
}

static int bio_create(BIO *bio)
{
	BIO_set_init(bio, 1);
	return 1;
}

/* One for all: sessions use it after their authorities are gone, and OpenSSL has no more than 127 numbers for them. */
static const BIO_METHOD *socket_method(void)
{
	static BIO_METHOD *method;

	if (!method)
		method = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "socket without signals");
	if (!method)
		return NULL;
	BIO_meth_set_write(method, bio_write);
	BIO_meth_set_read(method, bio_read);
	BIO_meth_set_ctrl(method, bio_ctrl);
	BIO_meth_set_create(method, bio_create);
	return method;
}

static const char *last_reason(void)
{
	unsigned long code = ERR_peek_last_error();
	const char *reason;

	if (ERR_SYSTEM_ERROR(code))
		return strerror(ERR_GET_REASON(code));
	reason = ERR_reason_error_string(code);
	return reason ? reason : "unknown error";
}

/* Several errors come of one cause; those of the kind "PEM lib" only tell which way it came up. */
static const char *root_reason(void)
{
	const char *reason = "unknown error";
	unsigned long code;

	while ((code = ERR_get_error())) {
		const char *text = ERR_SYSTEM_ERROR(code) ? strerror(ERR_GET_REASON(code))
							  : ERR_reason_error_string(code);
		size_t len = text ? strlen(text) : 0;

		if (len < 4 || !strcmp(text + len - 4, " lib"))
			continue;
		reason = text;
		break;
	}
	ERR_clear_error();
	return reason;
}

static int fail(char **error, const char *what, const char *path)
{
	const char *reason = root_reason();
	int size = snprintf(NULL, 0, "%s %s cannot be used: %s", what, path, reason) + 1;

	*error = malloc(size);
	if (*error)
		snprintf(*error, size, "%s %s cannot be used: %s", what, path, reason);
	return -EINVAL;
}

/* An encrypted key must not make the agent ask at a terminal. */
static int no_passphrase(char *buf, int size, int rwflag, void *arg)
{
	(void)buf;
	(void)size;
	(void)rwflag;
	(void)arg;
	return 0;
}

static int load_files(SSL_CTX *ctx, const struct eb_tls *tls, char **error)
{
	const char *ca = tls->ca, *cert = tls->cert, *key = tls->key;

	if (ca ? !SSL_CTX_load_verify_file(ctx, ca) : !SSL_CTX_set_default_verify_paths(ctx))
		return fail(error, "TLS authority file", ca ? ca : "of the system");
	SSL_CTX_set_default_passwd_cb(ctx, no_passphrase);
	if (cert && SSL_CTX_use_certificate_chain_file(ctx, cert) != 1)
		return fail(error, "TLS certificate", cert);
	if (key && SSL_CTX_use_PrivateKey_file(ctx, key, SSL_FILETYPE_PEM) != 1)
		return fail(error, "TLS key", key);
	if (cert && key && SSL_CTX_check_private_key(ctx) != 1)
		return fail(error, "TLS key", key);
	return 0;
}

/* Reads the files, and leaves the context alone where that fails. */
static int read_context(struct eb_tls *tls, char **error)
{
	SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());
	int err;

	if (!ctx)
		return -ENOMEM;
	ERR_clear_error();
	SSL_CTX_set_min_proto_version(ctx, TLS1_2_VERSION);
	SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER, NULL);
	SSL_CTX_set_options(ctx, SSL_OP_NO_RENEGOTIATION);
	SSL_CTX_set_mode(ctx, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
	err = load_files(ctx, tls, error);
	if (err) {
		SSL_CTX_free(ctx);
		return err;
	}
	SSL_CTX_free(tls->ctx);
	tls->ctx = ctx;
	return 0;
}

static int copy_path(char **out, const char *path)
{
	*out = path ? strdup(path) : NULL;
	return path && !*out ? -ENOMEM : 0;
}

int eb_tls_new(const char *ca, const char *cert, const char *key, struct eb_tls **out)
{
	struct eb_tls *tls = calloc(1, sizeof(*tls));

	if (!tls)
		return -ENOMEM;
	if (copy_path(&tls->ca, ca) || copy_path(&tls->cert, cert) || copy_path(&tls->key, key)) {
		eb_tls_free(tls);
		return -ENOMEM;
	}
	*out = tls;
	return 0;
}

void eb_tls_free(struct eb_tls *tls)
{
	if (!tls)
		return;
	SSL_CTX_free(tls->ctx);
	free(tls->ca);
	free(tls->cert);
	free(tls->key);
	free(tls);
}

static bool is_address(const char *name)
{
	unsigned char addr[16];

	return inet_pton(AF_INET, name, addr) == 1 || inet_pton(AF_INET6, name, addr) == 1;
}

static bool expect_peer(SSL *ssl, const char *name)
{
	/* An address is compared with the certificate's address entries, and never sent as a server name (RFC 6066). */
	if (is_address(name))
		return X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(ssl), name) == 1;
	SSL_set_hostflags(ssl, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
	return SSL_set1_host(ssl, name) == 1 && SSL_set_tlsext_host_name(ssl, name) == 1;
}

/* While files are being exchanged, the old ones serve. */
static int refresh_context(struct eb_tls *tls, char **error)
{
	char *reason = NULL;
	int err = read_context(tls, &reason);

	if (err && !tls->ctx) {
		*error = reason;
		return err;
	}
	free(reason);
	return 0;
}

int eb_tls_open(struct eb_tls *tls, int fd, const char *name, struct eb_tls_session **out, char **error)
{
	struct eb_tls_session *session;
	BIO *bio;
	int err = refresh_context(tls, error);

	if (err)
		return err;
	session = calloc(1, sizeof(*session));
	if (!session)
		return -ENOMEM;
	session->ssl = SSL_new(tls->ctx);
	bio = BIO_new(socket_method());
	if (!session->ssl || !bio || !expect_peer(session->ssl, name)) {
		BIO_free(bio);
		eb_tls_close(session);
		return -ENOMEM;
	}
	session->fd = fd;
	BIO_set_data(bio, session);
	SSL_set_bio(session->ssl, bio, bio);
	SSL_set_connect_state(session->ssl);
	*out = session;
	return 0;
}

void eb_tls_close(struct eb_tls_session *session)
{
	if (!session)
		return;
	SSL_free(session->ssl);
	free(session);
}

static int describe(struct eb_tls_session *session, int ssl_error, int saved_errno)
{
	long verify = SSL_get_verify_result(session->ssl);

	if (verify != X509_V_OK)
		snprintf(session->error, sizeof(session->error), "the server's certificate was refused: %s",
			 X509_verify_cert_error_string(verify));
	else if (ssl_error == SSL_ERROR_SYSCALL)
		snprintf(session->error, sizeof(session->error), "%s",
			 saved_errno ? strerror(saved_errno) : "the server closed the connection");
	else
		snprintf(session->error, sizeof(session->error), "%s", last_reason());
	ERR_clear_error();
	return -EPROTO;
}

static ssize_t settle(struct eb_tls_session *session, int result)
{
	int saved_errno = errno;
	int ssl_error = SSL_get_error(session->ssl, result);

	switch (ssl_error) {
	case SSL_ERROR_WANT_READ:
		session->wants_write = false;
		return -EAGAIN;
	case SSL_ERROR_WANT_WRITE:
		session->wants_write = true;
		return -EAGAIN;
	case SSL_ERROR_ZERO_RETURN:
		return 0;
	default:
		return describe(session, ssl_error, saved_errno);
	}
}

int eb_tls_handshake(struct eb_tls_session *session)
{
	int result;

	ERR_clear_error();
	errno = 0;
	result = SSL_do_handshake(session->ssl);
	if (result == 1)
		return 0;
	result = settle(session, result);
	return result ? result : -EPROTO;
}

ssize_t eb_tls_read(struct eb_tls_session *session, char *buf, size_t size)
{
	size_t n;
	int result;

	ERR_clear_error();
	errno = 0;
	result = SSL_read_ex(session->ssl, buf, size, &n);
	return result == 1 ? (ssize_t)n : settle(session, result);
}

ssize_t eb_tls_write(struct eb_tls_session *session, const char *buf, size_t size)
{
	size_t n;
	int result;

	ERR_clear_error();
	errno = 0;
	result = SSL_write_ex(session->ssl, buf, size, &n);
	if (result == 1)
		return n;
	result = settle(session, result);
	return result ? result : -EPROTO;
}

uint64_t eb_tls_received(const struct eb_tls_session *session)
{
	return session->received;
}

bool eb_tls_has_pending(const struct eb_tls_session *session)
{
	return SSL_has_pending(session->ssl);
}

bool eb_tls_wants_write(const struct eb_tls_session *session)
{
	return session->wants_write;
}

const char *eb_tls_error(const struct eb_tls_session *session)
{
	return session->error;
}
