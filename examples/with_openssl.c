/* SPDX-License-Identifier: MIT */
/*
 * with_openssl: whole messages over TLS, with the codec of the library and the BIOs of OpenSSL.
 *
 *   with_openssl server CERTIFICATE KEY CA [ADDRESS]     sends every message back
 *   with_openssl client CERTIFICATE KEY CA [ADDRESS]     sends each line, prints each answer
 *
 * ADDRESS is host:port. Each side shows its certificate, and wants one of the other that CA has
 * signed; the client also wants it to be the host's. Inside of TLS are the bytes that tcpmsg_send
 * writes. These calls wait: each client of the server has a thread.
 */
#define _POSIX_C_SOURCE 200809L

#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>

#include <tcpmsg/tcpmsg.h>

enum { MAX_MESSAGE = 16 << 20, FIRST_ROOM = 1 << 16 };

struct message {
    char *bytes;
    size_t room;
};

static int complain(const char *what)
{
    const char *reason = ERR_reason_error_string(ERR_get_error());
    fprintf(stderr, "with_openssl: %s%s%s\n", what, reason ? ": " : "", reason ? reason : "");
    return EXIT_FAILURE;
}

/* A clean end is one with a close_notify: any other may be an attacker's (RFC 8446, 6.1). */
static int why_no_more(BIO *bio)
{
    SSL *ssl = NULL;
    BIO_get_ssl(bio, &ssl);
    if (ERR_peek_error() == 0 && SSL_get_shutdown(ssl) & SSL_RECEIVED_SHUTDOWN)
        return TCPMSG_EOF;
    return TCPMSG_ESYSTEM;
}

/* The prefix: byte by byte, as nobody but the decoder knows where it ends. The BIO has a buffer. */
static int receive_length(BIO *bio, size_t *length)
{
    uint8_t prefix[TCPMSG_PREFIX_MAX];
    ssize_t size = 0;
    for (size_t have = 0; size == 0; have++) {
        size_t one;
        if (!BIO_read_ex(bio, prefix + have, 1, &one)) {
            int why = why_no_more(bio);
            return why == TCPMSG_EOF && have > 0 ? TCPMSG_ETRUNCATED : why;
        }
        size = tcpmsg_frame_decode(NULL, prefix, have + 1, length);
    }
    if (size > 0 && *length > MAX_MESSAGE) /* checked before it is believed */
        return TCPMSG_EMSGSIZE;
    return size > 0 ? 0 : (int)size;
}

/* Its length, or an error. The room doubles as bytes come, not as a prefix announces them. */
static ssize_t receive(BIO *bio, struct message *message)
{
    size_t length = 0, have = 0, count;
    int error = receive_length(bio, &length);
    while (error == 0 && have < length) {
        if (have == message->room) {
            size_t room = have == 0 ? FIRST_ROOM : 2 * have;
            char *bytes = realloc(message->bytes, room);
            if (bytes == NULL)
                return TCPMSG_ENOMEM;
            message->bytes = bytes;
            message->room = room;
        }
        size_t most = length < message->room ? length : message->room;
        if (!BIO_read_ex(bio, message->bytes + have, most - have, &count))
            error = why_no_more(bio) == TCPMSG_EOF ? TCPMSG_ETRUNCATED : TCPMSG_ESYSTEM;
        else
            have += count;
    }
    return error != 0 ? error : (ssize_t)length;
}

/* Prefix and message meet in the BIO's buffer, so that a small one is one record of TLS. */
static int send_message(BIO *bio, const char *bytes, size_t length)
{
    uint8_t prefix[TCPMSG_PREFIX_MAX];
    size_t count;
    int size = tcpmsg_frame_encode(NULL, length, prefix);
    if (size < 0 || length > MAX_MESSAGE)
        return TCPMSG_EMSGSIZE;
    if (!BIO_write_ex(bio, prefix, (size_t)size, &count) ||
        (length > 0 && !BIO_write_ex(bio, bytes, length, &count)) || BIO_flush(bio) != 1)
        return TCPMSG_ESYSTEM;
    return 0;
}

static void *serve(void *arg)
{
    BIO *bio = arg;
    struct message message = {0};
    ssize_t length = TCPMSG_ESYSTEM;
    if (BIO_do_handshake(bio) == 1) {
        while ((length = receive(bio, &message)) >= 0) {
            int error = send_message(bio, message.bytes, (size_t)length);
            if (error != 0) {
                length = error;
                break;
            }
        }
    }
    if (length == TCPMSG_EOF)
        BIO_ssl_shutdown(bio);
    else
        complain(length == TCPMSG_ESYSTEM ? "a client was lost" : tcpmsg_strerror((int)length));
    BIO_free_all(bio);
    free(message.bytes);
    return NULL;
}

static int run_server(SSL_CTX *context, const char *address)
{
    BIO *door = BIO_new_accept(address);
    BIO_set_bind_mode(door, BIO_BIND_REUSEADDR);
    if (BIO_do_accept(door) <= 0) /* the first one only listens */
        return complain("can't listen");
    printf("listening on %s:%s\n", BIO_get_accept_name(door), BIO_get_accept_port(door));
    fflush(stdout);
    while (BIO_do_accept(door) > 0) {
        BIO *tls = BIO_push(BIO_new_ssl(context, 0), BIO_pop(door));
        BIO *bio = BIO_push(BIO_new(BIO_f_buffer()), tls);
        pthread_t thread;
        if (pthread_create(&thread, NULL, serve, bio) == 0)
            pthread_detach(thread);
        else
            BIO_free_all(bio);
    }
    return complain("can't accept");
}

/* The certificate has to be for this name or IP address. */
static void expect_host(SSL *ssl, const char *host)
{
    if (X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(ssl), host) == 1)
        return;
    SSL_set1_host(ssl, host);
    SSL_set_tlsext_host_name(ssl, host);
    ERR_clear_error();
}

/* Sends each line and waits for its answer. */
static int converse(BIO *bio)
{
    struct message answer = {0};
    char *line = NULL;
    size_t room = 0;
    ssize_t length, result = 0;
    while (result >= 0 && (length = getline(&line, &room, stdin)) > 0) {
        length -= line[length - 1] == '\n';
        result = send_message(bio, line, (size_t)length);
        if (result == 0)
            result = receive(bio, &answer);
        if (result >= 0)
            printf("%.*s\n", (int)result, answer.bytes);
        fflush(stdout);
    }
    free(line);
    free(answer.bytes);
    return result < 0 ? (int)result : 0;
}

static int run_client(SSL_CTX *context, const char *address)
{
    BIO *bio = BIO_new_buffer_ssl_connect(context);
    SSL *ssl;
    int status = EXIT_SUCCESS;
    BIO_get_ssl(bio, &ssl);
    BIO_set_conn_hostname(bio, address);
    expect_host(ssl, BIO_get_conn_hostname(bio));
    if (BIO_do_handshake(bio) != 1) {
        status = complain("can't connect");
    } else {
        int error = converse(bio);
        if (error != 0)
            status = complain(error == TCPMSG_ESYSTEM ? "lost" : tcpmsg_strerror(error));
        else if (SSL_shutdown(ssl) == 0)
            SSL_shutdown(ssl); /* waits for the server's */
    }
    BIO_free_all(bio);
    return status;
}

/* The same for both: who can't show a certificate of this CA is not talked to. */
static SSL_CTX *prepare(const SSL_METHOD *method, char **files)
{
    SSL_CTX *context = SSL_CTX_new(method);
    SSL_CTX_set_min_proto_version(context, TLS1_2_VERSION);
    SSL_CTX_set_verify(context, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, NULL);
    if (SSL_CTX_use_certificate_chain_file(context, files[0]) == 1 &&
        SSL_CTX_use_PrivateKey_file(context, files[1], SSL_FILETYPE_PEM) == 1 &&
        SSL_CTX_load_verify_locations(context, files[2], NULL) == 1)
        return context;
    complain("can't use the certificates");
    SSL_CTX_free(context);
    return NULL;
}

int main(int argc, char **argv)
{
    const char *mode = argc == 5 || argc == 6 ? argv[1] : "";
    const char *address = argc == 6 ? argv[5] : "127.0.0.1:5000";
    bool server = strcmp(mode, "server") == 0;
    if (!server && strcmp(mode, "client") != 0) {
        fputs("usage: with_openssl server|client CERTIFICATE KEY CA [ADDRESS]\n", stderr);
        return 2;
    }
    signal(SIGPIPE, SIG_IGN); /* OpenSSL writes to sockets as to files */
    SSL_CTX *context = prepare(server ? TLS_server_method() : TLS_client_method(), argv + 2);
    if (context == NULL)
        return EXIT_FAILURE;
    int status = server ? run_server(context, address) : run_client(context, address);
    SSL_CTX_free(context);
    return status;
}
