#!/usr/bin/env bash
# enrol.sh ORG NAME [client|peer|admin|orderer]: registers and enrols somebody at the organisation's Fabric CA. Needs curl and openssl.
#
# Certificate and key lie in ORG/NAME/msp afterwards, beside those of `user`; the password for the next time in ORG/NAME/secret. Asked for
# again it enrols anew: another key, another certificate.
set -euo pipefail
umask 077
cd "$(dirname "$0")"
org=${1:?enrol.sh ORG NAME [TYPE]} name=${2:?enrol.sh ORG NAME [TYPE]} type=${3:-client}
for word in "$org" "$name" "$type"; do
  case $word in *[!a-zA-Z0-9._-]*) echo "enrol: $word: only letters, digits, . _ and - are taken" >&2; exit 2 ;; esac
done
# shellcheck source=/dev/null
. "$org/ca-env"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# call PATH BODY [curl's arguments]: what the CA answers; fails with its words where it refuses.
call() {
  local path=$1 body=$2 answer
  shift 2
  answer=$(curl --silent --show-error --cacert "$org/tlsca.pem" --data "$body" "$@" "$CA_URL$path")
  case $answer in *'"success":true'*) printf '%s' "$answer" ;; *) echo "enrol: $CA_NAME refuses: $answer" >&2; return 1 ;; esac
}

# enrol WHO PASSWORD FOLDER: a new key and its certificate, in the folder.
enrol() {
  local request
  openssl ecparam -name prime256v1 -genkey -noout | openssl pkcs8 -topk8 -nocrypt -out "$3/key.pem"
  request=$(openssl req -new -key "$3/key.pem" -subj "/CN=$1" | sed 's/$/\\n/' | tr -d '\n')
  # The password goes by a file descriptor: a command line is for all to see.
  call /enroll "{\"certificate_request\":\"$request\"}" -K <(printf 'user = "%s:%s"\n' "$1" "$2") |
    sed -n 's/.*"Cert":"\([^"]*\)".*/\1/p' | openssl base64 -d -A > "$3/cert.pem"
}

# token PATH BODY: the registrar's signature of a request. The CA takes only the lower of the two values that S may have.
token() {
  local half=7FFFFFFF800000007FFFFFFFFFFFFFFFDE737D56D38BCF4279DCE5617E3192A8 certificate path body s
  certificate=$(openssl base64 -A -in "$work/cert.pem")
  path=$(printf '%s' "$1" | openssl base64 -A) body=$(printf '%s' "$2" | openssl base64 -A)
  while :; do
    printf 'POST.%s.%s.%s' "$path" "$body" "$certificate" | openssl dgst -sha256 -sign "$work/key.pem" -out "$work/signature"
    s=$(openssl asn1parse -inform DER -in "$work/signature" | sed -n '$s/.*://p')
    if [ "${#s}" -lt 64 ] || [[ ! "$s" > "$half" ]]; then break; fi
  done
  printf '%s.%s' "$certificate" "$(openssl base64 -A -in "$work/signature")"
}

if [ ! -s "$org/$name/secret" ]; then
  enrol "$CA_REGISTRAR" "$CA_SECRET" "$work"
  secret=$(openssl rand -hex 16)
  body="{\"id\":\"$name\",\"type\":\"$type\",\"secret\":\"$secret\"}"
  call /register "$body" -K <(printf 'header = "Authorization: %s"\n' "$(token /register "$body")") > /dev/null
  mkdir -p "$org/$name"
  printf '%s' "$secret" > "$org/$name/secret"
fi
msp=$org/$name/msp
mkdir -p "$msp"/{signcerts,keystore} "$work/own"
enrol "$name" "$(cat "$org/$name/secret")" "$work/own"
cp -r "$org/user/msp"/{cacerts,tlscacerts,config.yaml} "$msp/"
mv "$work/own/cert.pem" "$msp/signcerts/cert.pem"
mv "$work/own/key.pem" "$msp/keystore/key.pem"
echo "$msp"
