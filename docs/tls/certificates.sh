#!/bin/sh
# Makes an authority of our own, and for the server and the client a certificate of it, in the
# folder it is run in: ca.crt; server.pem and client.pem, each with its key. Keep ca.key to
# yourself, and away from both machines.
set -eu
umask 077

openssl req -x509 -newkey ed25519 -nodes -days 3650 -subj '/CN=messages' \
    -keyout ca.key -out ca.crt
for name in server client; do
    openssl req -x509 -newkey ed25519 -nodes -days 365 -subj "/CN=$name.example" \
        -addext "subjectAltName=DNS:$name.example" -addext 'basicConstraints=CA:FALSE' \
        -CA ca.crt -CAkey ca.key -keyout "$name.key" -out "$name.crt"
    cat "$name.crt" "$name.key" >"$name.pem"
done
