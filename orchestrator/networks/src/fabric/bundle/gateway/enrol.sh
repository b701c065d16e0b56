#!/usr/bin/env bash
# enrol.sh ORG NAME [client|peer|admin|orderer]: registers and enrols an identity at the organisation's Fabric CA.
# Requires curl and openssl.
#
# Writes certificate and key to ORG/NAME/msp, next to those of `user`, and the password to ORG/NAME/secret. Every run
# issues a new key and certificate. An interrupted run can be repeated.
set -euo pipefail
umask 077
cd "$(dirname "$0")"
org=${1:?enrol.sh ORG NAME [TYPE]} name=${2:?enrol.sh ORG NAME [TYPE]} type=${3:-client}
for word in "$org" "$name" "$type"; do
  case $word in .* | *[!a-zA-Z0-9._-]*) echo "enrol: $word: use letters, digits, . _ and -, and do not begin with ." >&2; exit 2 ;; esac
done
case $name in admin | user) echo "enrol: $name: this identity already exists, in $org/$name" >&2; exit 2 ;; esac
# shellcheck source=/dev/null
. "$org/ca-env"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# call PATH BODY [CURL_ARGUMENT…]: prints the CA's answer. Status 1: the CA refused; 3: no answer. Secrets are passed by
# file descriptors, because command lines are visible to other users.
call() {
  local path=$1 body=$2 answer
  shift 2
  answer=$(curl --silent --show-error --connect-timeout 5 --max-time 60 --cacert "$org/tlsca.pem" --data @<(printf '%s' "$body") "$@" "$CA_URL$path") || return 3
  case $answer in *'"success":true'*) printf '%s' "$answer" ;; *) echo "enrol: $CA_NAME refuses: $answer" >&2; return 1 ;; esac
}

# enrol NAME PASSWORD FOLDER: writes a new key and its certificate to the folder.
enrol() {
  local request
  openssl ecparam -name prime256v1 -genkey -noout | openssl pkcs8 -topk8 -nocrypt -out "$3/key.pem"
  request=$(openssl req -new -key "$3/key.pem" -subj "/CN=$1" | sed 's/$/\\n/' | tr -d '\n')
  call /enroll "{\"certificate_request\":\"$request\"}" -K <(printf 'user = "%s:%s"\n' "$1" "$2") |
    sed -n 's/.*"Cert":"\([^"]*\)".*/\1/p' | openssl base64 -d -A > "$3/cert.pem"
}

# token PATH BODY: prints the registrar's signature of a request. The CA accepts only the lower of the two values of S.
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

own=$org/$name msp=$org/$name/msp
if [ ! -e "$own/registered" ]; then
  enrol "$CA_REGISTRAR" "$CA_SECRET" "$work"
  mkdir -p "$own"
  # Written before the request, so that the password of a registered identity is known even if the answer is lost.
  before=1
  if [ ! -s "$own/secret" ]; then before=''; openssl rand -hex 16 > "$own/secret"; fi
  body="{\"id\":\"$name\",\"type\":\"$type\",\"secret\":\"$(cat "$own/secret")\"}"
  status=0
  said=$(call /register "$body" -K <(printf 'header = "Authorization: %s"\n' "$(token /register "$body")") 2>&1) || status=$?
  case $status:$before:$said in
    0:*) ;;
    1:1:*"is already registered"*) ;; # by a run whose answer was lost; otherwise the password fails below
    1:*) echo "$said" >&2; rm -f "$own/secret"; exit 1 ;;
    *) echo "$said" >&2; exit 1 ;;
  esac
  touch "$own/registered"
fi
mkdir -p "$msp"/{signcerts,keystore} "$work/own"
enrol "$name" "$(cat "$own/secret")" "$work/own"
cp -r "$org/user/msp"/{cacerts,tlscacerts,config.yaml} "$msp/"
mv "$work/own/cert.pem" "$msp/signcerts/cert.pem"
mv "$work/own/key.pem" "$msp/keystore/key.pem"
echo "$msp"
