#!/usr/bin/env bash
# kubernetes.sh VERB: a real single-machine Kubernetes cluster for tests, as processes of this machine.
#
#   build             build the programs of a version outside the checkout, in about 5 minutes (needs Go, a C
#                     compiler and a module proxy)
#   up                start stopped components, wait for machine and DNS, print the path of the kubeconfig
#   load IMAGE…       copy images from the local Docker engine into the cluster
#   stop COMPONENT…   stop components: containerd etcd kube-apiserver kube-controller-manager kube-scheduler
#                     kubelet kube-proxy provisioner
#   start COMPONENT…  start components
#   status            show components; exit with status 1 if the cluster is not up
#   down              stop all components and remove all data except the programs
#   kubectl …         run kubectl as the cluster's administrator
#
# CHAINPOOL_TEST_KUBECONFIG names an existing cluster: up prints it, load, stop and start exit with status 3.
# Exit status: 0 success; 2 invalid arguments; 3 unavailable on this machine, with the reason on stderr: skip
# dependent tests.
# Needs root, runc, containerd, iptables, openssl and the CNI plugins (Debian: docker.io
# containernetworking-plugins iptables openssl).
set -euo pipefail
HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cd "$HERE/../.."
. scripts/engine-api.sh
. scripts/toolchain.sh
SOURCES=$HERE/kubernetes
VERSION=$(sed -n 's/^\tk8s.io\/kubernetes v//p' "$SOURCES/src/go.mod")
BIN=${XDG_CACHE_HOME:-${HOME:-/root}/.cache}/chainpool/testbed-kubernetes/$VERSION-$(find "$SOURCES/src" -type f -print0 | sort -z | xargs -0 cat | sha256sum | cut -c1-8)
T=${CHAINPOOL_TESTBED_KUBERNETES:-/tmp/chainpool-kube}   # short, because socket paths have at most 107 characters
KUBECONFIG_ADMIN=$T/admin.kubeconfig
NODE=node-1 BRIDGE=cpkube0
POD_CIDR=10.244.0.0/24 GATEWAY=10.244.0.1 SERVICE_CIDR=10.96.0.0/16 API_SERVICE=10.96.0.1 DNS_SERVICE=10.96.0.10
SOCKET=$T/run/containerd.sock
COMPONENTS=(containerd etcd kube-apiserver kube-controller-manager kube-scheduler kubelet kube-proxy provisioner)
PATH=$BIN:$PATH:/usr/sbin:/sbin

say() { printf '%s %s\n' "$(date +%T)" "$*" >&2; }
# cannot REASON: reports that the test bed is unavailable here.
cannot() { echo "kubernetes.sh: unavailable on this machine: $*" >&2; exit 3; }
kc() { "$BIN/kubectl" --kubeconfig "${CHAINPOOL_TEST_KUBECONFIG:-$KUBECONFIG_ADMIN}" "$@"; }
ctrk() { ctr -a "$SOCKET" -n k8s.io "$@"; }
own_address() {
  local device
  device=$(ip -4 route show default | awk '{ print $5; exit }')
  [ -z "$device" ] || ip -4 -o addr show dev "$device" scope global | awk '{ sub("/.*", "", $4); print $4; exit }'
}

# ---- build

build() {
  [ ! -e "$BIN/done" ] || return 0
  command -v go > /dev/null || cannot "Go is missing, which builds its programs: scripts/setup.sh go"
  command -v gcc > /dev/null || cannot "gcc is missing: apt-get install gcc libc6-dev"
  local made version=k8s.io/component-base/version flags
  mkdir -p "$(dirname "$BIN")"
  made=$(mktemp -d "$BIN.XXXXXX")
  say "building Kubernetes $VERSION in $BIN"
  # Without a version the API server reports v0.0.0-master and disables its compatibility checks.
  flags="-s -w -X $version.gitVersion=v$VERSION -X $version.gitMajor=${VERSION%%.*} -X $version.gitMinor=$(cut -d. -f2 <<< "$VERSION")"
  flags+=" -X $version.gitTreeState=clean -X $version.gitCommit=none -X $version.buildDate=1970-01-01T00:00:00Z"
  (
    cd "$SOURCES/src"
    export CGO_ENABLED=0 GOFLAGS="-trimpath -buildvcs=false -mod=readonly"
    go build -ldflags "$flags" -o "$made/kube" ./kube
    go build -ldflags "-s -w" -o "$made/coredns" ./coredns
    gcc -Os -static -s -o "$made/pause" pause.c
  ) || { rm -rf "$made"; cannot "build of its programs failed (see above)"; }
  local name
  for name in etcd kube-apiserver kube-controller-manager kube-scheduler kubelet kube-proxy provisioner kubectl; do ln -s kube "$made/$name"; done
  touch "$made/done"
  # Of concurrent builds, keep the first.
  mv -T "$made" "$BIN" 2> /dev/null || rm -rf "$made"
}

# image NAME FILE: prints a docker archive of one program in an empty root file system.
image() {
  local dir sum
  dir=$(mktemp -d "$T/image.XXXXXX")
  mkdir "$dir/root"
  cp "$2" "$dir/root/"
  tar -C "$dir/root" --owner=0 --group=0 --mtime=@0 -cf "$dir/layer.tar" .
  sum=$(sha256sum "$dir/layer.tar" | cut -d' ' -f1)
  printf '{"architecture":"%s","os":"linux","config":{"Entrypoint":["/%s"],"Env":["PATH=/"]},"rootfs":{"type":"layers","diff_ids":["sha256:%s"]}}' \
    "$(go_arch)" "$(basename "$2")" "$sum" > "$dir/config.json"
  printf '[{"Config":"config.json","RepoTags":["%s"],"Layers":["layer.tar"]}]' "$1" > "$dir/manifest.json"
  tar -C "$dir" -cf - manifest.json config.json layer.tar
  rm -rf "$dir"
}
go_arch() { uname -m | sed 's/x86_64/amd64/; s/aarch64/arm64/'; }

# ---- certificates and kubeconfigs

certificates() {
  local p=$T/pki
  rm -rf "$p"
  mkdir -p "$p"
  (
    cd "$p"
    authority ca kube-test-ca
    authority front-proxy-ca front-proxy-ca
    openssl genrsa -out sa.key 2048 2> /dev/null
    openssl rsa -in sa.key -pubout -out sa.pub 2> /dev/null
    local kubernetes=DNS:kubernetes,DNS:kubernetes.default,DNS:kubernetes.default.svc,DNS:kubernetes.default.svc.cluster.local
    leaf ca apiserver /CN=kube-apiserver "DNS:localhost,$kubernetes,IP:127.0.0.1,IP:$IP,IP:$API_SERVICE"
    leaf ca kubelet-server "/CN=$NODE" "DNS:$NODE,IP:$IP,IP:127.0.0.1"
    leaf ca apiserver-kubelet-client /O=system:masters/CN=kube-apiserver-kubelet-client
    leaf ca admin /O=system:masters/CN=admin
    leaf ca kube-controller-manager /CN=system:kube-controller-manager
    leaf ca kube-scheduler /CN=system:kube-scheduler
    leaf ca kube-proxy /CN=system:kube-proxy
    leaf ca kubelet "/O=system:nodes/CN=system:node:$NODE"
    leaf front-proxy-ca front-proxy-client /CN=front-proxy-client
    local name
    for name in kube-controller-manager kube-scheduler kube-proxy kubelet; do kubeconfig "$name" "$name.kubeconfig"; done
    kubeconfig admin "$KUBECONFIG_ADMIN"
  )
}
# authority FILE NAME
authority() {
  openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 3650 -subj "/CN=$2" -addext basicConstraints=critical,CA:TRUE \
    -addext keyUsage=critical,keyCertSign,cRLSign,digitalSignature -keyout "$1.key" -out "$1.crt" 2> /dev/null
}
# leaf AUTHORITY FILE SUBJECT [NAMES]
leaf() {
  openssl req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj "$3" -keyout "$2.key" -out "$2.csr" 2> /dev/null
  openssl x509 -req -in "$2.csr" -CA "$1.crt" -CAkey "$1.key" -CAcreateserial -days 3650 -out "$2.crt" 2> /dev/null -extfile <(
    printf 'basicConstraints=critical,CA:FALSE\nkeyUsage=critical,digitalSignature\nextendedKeyUsage=serverAuth,clientAuth\n%s\n' "${4:+subjectAltName=$4}"
  )
  rm "$2.csr"
}
# kubeconfig USER FILE
kubeconfig() {
  cat > "$2" << Y
apiVersion: v1
kind: Config
clusters: [{name: test, cluster: {server: "https://$IP:6443", certificate-authority-data: $(base64 -w0 ca.crt)}}]
users: [{name: $1, user: {client-certificate-data: $(base64 -w0 "$1.crt"), client-key-data: $(base64 -w0 "$1.key")}}]
contexts: [{name: test, context: {cluster: test, user: $1}}]
current-context: test
Y
  chmod 600 "$2"
}

# render FILE: prints a template with its placeholders replaced.
render() {
  sed -e "s#@T@#$T#g" -e "s#@IP@#$IP#g" -e "s#@NODE@#$NODE#g" -e "s#@POD_CIDR@#$POD_CIDR#g" -e "s#@GATEWAY@#$GATEWAY#g" \
    -e "s#@DNS_SERVICE@#$DNS_SERVICE#g" -e "s#@BRIDGE@#$BRIDGE#g" "$1"
}

# ---- processes

# command_of COMPONENT: sets COMMAND to its command line.
command_of() {
  local p=$T/pki auth
  auth=(--kubeconfig="$p/$1.kubeconfig" --authentication-kubeconfig="$p/$1.kubeconfig" --authorization-kubeconfig="$p/$1.kubeconfig" --bind-address=127.0.0.1 --leader-elect=false)
  case $1 in
    containerd) COMMAND=(containerd --config "$T/etc/containerd.toml") ;;
    etcd) COMMAND=(etcd --name default --data-dir "$T/var/etcd" --unsafe-no-fsync --log-level warn
      --listen-client-urls http://127.0.0.1:2379 --advertise-client-urls http://127.0.0.1:2379
      --listen-peer-urls http://127.0.0.1:2380 --initial-advertise-peer-urls http://127.0.0.1:2380 --initial-cluster default=http://127.0.0.1:2380) ;;
    # The front proxy needs a separate authority: with that of clients, the server would trust names sent by
    # any client.
    kube-apiserver) COMMAND=(kube-apiserver --etcd-servers=http://127.0.0.1:2379 --advertise-address="$IP" --secure-port=6443
      --client-ca-file="$p/ca.crt" --tls-cert-file="$p/apiserver.crt" --tls-private-key-file="$p/apiserver.key"
      --kubelet-certificate-authority="$p/ca.crt" --kubelet-client-certificate="$p/apiserver-kubelet-client.crt"
      --kubelet-client-key="$p/apiserver-kubelet-client.key" --kubelet-preferred-address-types=InternalIP
      --requestheader-client-ca-file="$p/front-proxy-ca.crt" --requestheader-allowed-names=front-proxy-client
      --requestheader-username-headers=X-Remote-User --requestheader-group-headers=X-Remote-Group --requestheader-extra-headers-prefix=X-Remote-Extra-
      --proxy-client-cert-file="$p/front-proxy-client.crt" --proxy-client-key-file="$p/front-proxy-client.key"
      --service-account-issuer=https://kubernetes.default.svc.cluster.local --service-account-key-file="$p/sa.pub"
      --service-account-signing-key-file="$p/sa.key" --service-cluster-ip-range="$SERVICE_CIDR" --authorization-mode="Node,RBAC"
      --enable-admission-plugins=NodeRestriction --allow-privileged=true) ;;
    kube-controller-manager) COMMAND=(kube-controller-manager "${auth[@]}" --use-service-account-credentials=true --kube-api-qps=300 --kube-api-burst=600
      --root-ca-file="$p/ca.crt" --service-account-private-key-file="$p/sa.key" --cluster-signing-cert-file="$p/ca.crt" --cluster-signing-key-file="$p/ca.key") ;;
    kube-scheduler) COMMAND=(kube-scheduler "${auth[@]}") ;;
    kubelet) COMMAND=(kubelet --config="$T/etc/kubelet.yaml" --kubeconfig="$p/kubelet.kubeconfig" --root-dir="$T/var/kubelet"
      --cert-dir="$T/var/kubelet/pki" --hostname-override="$NODE" --node-ip="$IP") ;;
    kube-proxy) COMMAND=(kube-proxy --config="$T/etc/kube-proxy.yaml") ;;
    provisioner) COMMAND=(provisioner --kubeconfig "$KUBECONFIG_ADMIN" --node "$NODE" --dir "$T/var/volumes") ;;
    *) echo "kubernetes.sh: no component $1: use one of ${COMPONENTS[*]}" >&2; exit 2 ;;
  esac
}

# alive COMPONENT: prints its process id, if that process is still the component.
alive() {
  local pid
  pid=$(cat "$T/run/$1.pid" 2> /dev/null) || return 1
  [ "$(tr '\0' '\n' < "/proc/$pid/cmdline" 2> /dev/null | head -1)" = "$1" ] && echo "$pid"
}
# launch COMPONENT: starts it in its own session, unless it runs.
launch() {
  command_of "$1"
  alive "$1" > /dev/null && return
  setsid nohup "${COMMAND[@]}" >> "$T/log/$1.log" 2>&1 < /dev/null 9>&- &
  echo $! > "$T/run/$1.pid"
}
# halt COMPONENT…: sends TERM to all process ids, and KILL after 5 s.
halt() {
  local name pid end=$((SECONDS + 5))
  for name in "$@"; do pid=$(alive "$name") && kill "$pid" 2> /dev/null || true; done
  for name in "$@"; do
    while pid=$(alive "$name"); do
      [ $SECONDS -lt $end ] || kill -9 "$pid" 2> /dev/null || true
      sleep 0.1
    done
    rm -f "$T/run/$name.pid"
  done
}
# wait_for SECONDS COMPONENT DESCRIPTION COMMAND…: waits for a condition; on a timeout shows the end of the
# component's log.
wait_for() {
  local end=$((SECONDS + $1)) component=$2 what=$3
  shift 3
  until "$@" > /dev/null 2>&1; do
    if [ $SECONDS -ge $end ] || ! alive "$component" > /dev/null; then
      tail -n 15 "$T/log/$component.log" >&2 || true
      take_down
      cannot "timeout waiting for $what ($component, see the end of its log above)"
    fi
    sleep 0.2
  done
}

# ---- up

able() {
  [ "$(uname)" = Linux ] || cannot "it needs Linux"
  [ "$(id -u)" = 0 ] || cannot "it needs root"
  local program
  for program in containerd containerd-shim-runc-v2 runc ctr ip iptables openssl; do
    command -v "$program" > /dev/null || cannot "$program is missing: apt-get install docker.io containernetworking-plugins iproute2 iptables openssl"
  done
  [ -x /usr/lib/cni/bridge ] || cannot "the CNI plugins are missing: apt-get install containernetworking-plugins"
  IP=$(own_address)
  [ -n "$IP" ] || cannot "this machine has no default route to derive its address from"
}

up() {
  able
  build
  mkdir -p "$T"
  exec 9> "$T/lock"
  flock 9
  # A bed without running components was killed with its tests: recreate it, without their objects.
  if [ -e "$T/up" ] && [ "$(cat "$T/up")" = "$(here)" ] && lives; then
    local name
    for name in "${COMPONENTS[@]}"; do launch "$name"; done
    wait_for 60 kube-apiserver "the API server" kc get --raw /readyz
    return
  fi
  take_down
  ports_free
  prepare
  launch containerd
  launch etcd
  launch kube-apiserver
  wait_for 60 containerd containerd ctr -a "$SOCKET" version
  image local/pause:1 "$BIN/pause" | ctrk images import - > /dev/null
  image local/coredns:1 "$BIN/coredns" | ctrk images import - > /dev/null
  wait_for 120 kube-apiserver "the API server" kc get --raw /readyz
  local name
  for name in "${COMPONENTS[@]}"; do launch "$name"; done
  for name in "$SOURCES"/manifests/*.yaml; do render "$name" | kc apply -f - > /dev/null; done
  wait_for 120 kubelet "the machine" kc wait --for=condition=Ready "node/$NODE" --timeout=1s
  wait_for 120 kube-controller-manager "DNS" kc -n kube-system wait --for=condition=Available deploy/coredns --timeout=1s
  wait_for 60 kube-controller-manager "the default service account" kc -n default get serviceaccount default
  here > "$T/up"
}

lives() { local name; for name in "${COMPONENTS[@]}"; do ! alive "$name" > /dev/null || return 0; done; return 1; }

# here: prints the machine's address and boot id. A reboot removes the rules and cgroups of a previous bed.
here() { echo "$IP $(cat /proc/sys/kernel/random/boot_id)"; }

ports_free() {
  local port
  for port in 2379 2380 6443 10250; do
    [ -z "$(ss -Hltn "sport = :$port")" ] || cannot "port $port is used by another program"
  done
}

prepare() {
  mkdir -p "$T"/{etc/cni,run,log/pods,var/{etcd,containerd,kubelet,cni,volumes}}
  certificates
  local file key group
  for file in "$SOURCES"/conf/*; do render "$file" > "$T/etc/$(basename "$file")"; done
  mv "$T/etc/cni.conflist" "$T/etc/cni/10-bridge.conflist"
  # The kubelet needs the root of its cgroups; a new cpuset of version 1 is empty.
  for group in cpu cpuacct cpuset memory pids devices freezer blkio systemd hugetlb; do
    [ ! -d "/sys/fs/cgroup/$group" ] || mkdir -p "/sys/fs/cgroup/$group/chainpool-kube"
  done
  if [ -d /sys/fs/cgroup/cpuset ]; then
    for key in cpus mems; do cat "/sys/fs/cgroup/cpuset/cpuset.$key" > "/sys/fs/cgroup/cpuset/chainpool-kube/cpuset.$key"; done
  elif [ -e /sys/fs/cgroup/cgroup.controllers ]; then
    mkdir -p /sys/fs/cgroup/chainpool-kube
  fi
  # The kubelet and kube-proxy change these; down restores them.
  for key in vm.overcommit_memory vm.panic_on_oom kernel.panic kernel.panic_on_oops kernel.keys.root_maxkeys kernel.keys.root_maxbytes \
    net.ipv4.conf.all.route_localnet net.ipv4.ip_forward; do
    echo "$key=$(sysctl -n "$key" 2> /dev/null)"
  done > "$T/run/sysctl"
  sysctl -qw net.ipv4.ip_forward=1
  # Docker sets the policy of FORWARD to DROP.
  iptables -w -I FORWARD -s $POD_CIDR -j ACCEPT
  iptables -w -I FORWARD -d $POD_CIDR -j ACCEPT
  iptables -w -t nat -A POSTROUTING -s $POD_CIDR ! -d $POD_CIDR -j MASQUERADE
}

# ---- down

# unchain: removes only the chains of kube-proxy, the kubelet and the port mapper.
unchain() {
  local tables table chain rule
  for tables in iptables ip6tables; do
    for table in filter nat mangle; do
      while read -r rule; do eval "$tables -w -t $table $rule" 2> /dev/null || true; done \
        < <($tables -w -t $table -S 2> /dev/null | grep -E '^-A .*-j (KUBE-|CNI-)' | sed 's/^-A/-D/')
      for rule in -F -X; do
        for chain in $($tables -w -t $table -S 2> /dev/null | awk '$1 == "-N" && $2 ~ /^(KUBE|CNI)-/ { print $2 }'); do
          $tables -w -t $table $rule "$chain" 2> /dev/null || true
        done
      done
    done
  done
}

empty_containerd() {
  [ -S "$SOCKET" ] && timeout 5 ctr -a "$SOCKET" version > /dev/null 2>&1 || return 0
  local id
  for id in $(ctrk tasks ls -q); do ctrk tasks kill -s KILL -a "$id" > /dev/null 2>&1 || true; done
  for id in $(ctrk tasks ls -q); do timeout 10 ctr -a "$SOCKET" -n k8s.io tasks rm -f "$id" > /dev/null 2>&1 || true; done
  for id in $(ctrk containers ls -q); do ctrk containers rm "$id" > /dev/null 2>&1 || true; done
}

take_down() {
  [ -d "$T/run" ] || return 0
  local pid mount key
  halt provisioner kubelet kube-proxy kube-scheduler kube-controller-manager kube-apiserver etcd
  empty_containerd
  halt containerd
  # Remaining shims of this containerd, identified by the path of its socket.
  for pid in $(pgrep -f "containerd-shim-runc-v2 .*-address $SOCKET" || true); do kill -9 "$pid" 2> /dev/null || true; done
  for mount in $(awk -v t="$T/" 'index($2, t) == 1 { print $2 }' /proc/mounts | sort -r); do umount -l "$(printf '%b' "$mount")" 2> /dev/null || true; done
  ip link del $BRIDGE 2> /dev/null || true
  unchain
  iptables -w -D FORWARD -s $POD_CIDR -j ACCEPT 2> /dev/null || true
  iptables -w -D FORWARD -d $POD_CIDR -j ACCEPT 2> /dev/null || true
  iptables -w -t nat -D POSTROUTING -s $POD_CIDR ! -d $POD_CIDR -j MASQUERADE 2> /dev/null || true
  if [ -e "$T/run/sysctl" ]; then while read -r key; do sysctl -qw "$key" 2> /dev/null || true; done < "$T/run/sysctl"; fi
  find /sys/fs/cgroup/chainpool-kube /sys/fs/cgroup/*/chainpool-kube -depth -type d -exec rmdir {} + 2> /dev/null || true
  find /var/log/containers -maxdepth 1 -type l -lname "$T/*" -delete 2> /dev/null || true
  rm -f /var/lib/cni/results/chainpool-kube-* /var/lib/cni/results/cni-loopback-*
  find "$T" -mindepth 1 -maxdepth 1 ! -name lock -exec rm -rf {} +
}

down() {
  [ -d "$T" ] || return 0
  exec 9> "$T/lock"
  flock 9
  take_down
  rm -rf "$T"
}

status() {
  local name pid
  echo "kubeconfig $KUBECONFIG_ADMIN"
  for name in "${COMPONENTS[@]}"; do
    if pid=$(alive "$name"); then printf '%-24s running, process %s, %d MiB\n' "$name" "$pid" $(($(awk '/^VmRSS/ { print $2 }' "/proc/$pid/status") / 1024))
    else printf '%-24s stopped\n' "$name"; fi
  done
  [ -e "$T/up" ] && lives
}

ours() { [ -z "${CHAINPOOL_TEST_KUBECONFIG:-}" ] || cannot "CHAINPOOL_TEST_KUBECONFIG names a cluster that this script does not manage"; }
running() { [ -e "$T/up" ] || cannot "the cluster is not up: tests/testbeds/kubernetes.sh up"; read -r IP _ < "$T/up"; }

verb=${1:-}
[ $# = 0 ] || shift
case $verb in
  build) build ;;
  up)
    if [ -n "${CHAINPOOL_TEST_KUBECONFIG:-}" ]; then echo "$CHAINPOOL_TEST_KUBECONFIG"; exit; fi
    up
    echo "$KUBECONFIG_ADMIN" ;;
  load) ours; running; for name in "$@"; do engine_curl "/images/$name/get" --max-time 300 | ctrk images import - > /dev/null; done ;;
  stop) ours; running; halt "$@" ;;
  start) ours; running; for name in "$@"; do launch "$name"; done ;;
  status) status ;;
  down) down ;;
  kubectl) build; kc "$@" ;;
  *) sed -n '2,19p' "${BASH_SOURCE[0]}" >&2; exit 2 ;;
esac
