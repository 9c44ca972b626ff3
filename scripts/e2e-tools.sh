#!/usr/bin/env bash
# The real OpenTelemetry Collector and the real Jaeger v2 for tests/e2e, built from their Go modules into a cache outside the checkout.
#
#   scripts/e2e-tools.sh           builds what is missing, checks both versions, prints HEADWATER_OTELCOL=… and HEADWATER_JAEGER=…
#   scripts/e2e-tools.sh --paths   builds nothing: prints the two lines if both are there, else says what is missing (exit 4)
#
#   eval "$(scripts/e2e-tools.sh)" and export the two names to use them in a shell.
# The cache is $HEADWATER_E2E_CACHE, else $XDG_CACHE_HOME/headwater/e2e, else ~/.cache/headwater/e2e. Several runs at once are safe: the
# second waits for the first. Exit codes: 2 usage · 3 Go is missing or too old · 4 not built · 5 a built binary is not the version asked for.
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
collector_version=0.155.0
jaeger_version=1.76.0   # the Go module tag that carries Jaeger v2's cmd/jaeger
go_minimum=1.25

say() { echo "e2e-tools: $*" >&2; }

cache=${HEADWATER_E2E_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/headwater/e2e}
case $cache in
  /*) ;;
  *) say "the cache must be an absolute path, found '$cache'; set HEADWATER_E2E_CACHE=/some/dir"; exit 2 ;;
esac
case $cache/ in
  "$root"/*) say "the cache $cache lies inside the checkout; set HEADWATER_E2E_CACHE to a directory outside it"; exit 2 ;;
esac
# The name carries what the binary was built from, so that a change of builder.yaml builds anew.
collector=$cache/otelcol-$collector_version-$(sha256sum "$root/collector-config/builder.yaml" | cut -c1-12)
jaeger=$cache/jaeger-$jaeger_version

collector_ok() { [ -x "$collector" ] && "$collector" --version 2>/dev/null | grep -qF "version $collector_version"; }
jaeger_ok() { [ -x "$jaeger" ] && "$jaeger" version 2>/dev/null | grep -qF "\"gitVersion\":\"v$jaeger_version\""; }
print_paths() { printf 'HEADWATER_OTELCOL=%q\nHEADWATER_JAEGER=%q\n' "$collector" "$jaeger"; }

case ${1:-} in
  "") ;;
  --paths)
    if collector_ok && jaeger_ok; then print_paths; exit 0; fi
    say "the Collector $collector_version or Jaeger $jaeger_version is not built yet; run 'make e2e-tools' (needs Go $go_minimum+, about 8 minutes the first time)"
    exit 4 ;;
  *) say "unknown argument '$1'; known: --paths"; exit 2 ;;
esac

require_go() {
  if ! command -v go >/dev/null; then
    say "Go is not installed, so $1 cannot be built and the end-to-end tests will skip. Install Go $go_minimum or newer and run 'make e2e-tools' again."
    exit 3
  fi
  local found
  found=$(go env GOVERSION); found=${found#go}
  if [ "$(printf '%s\n%s\n' "$go_minimum" "$found" | sort -V | head -n1)" != "$go_minimum" ]; then
    say "Go $found is too old for $1; install Go $go_minimum or newer and run 'make e2e-tools' again."
    exit 3
  fi
}

work=
trap '[ -z "$work" ] || { chmod -R u+w "$work" 2>/dev/null; rm -rf "$work"; }' EXIT

build_collector() {
  require_go "the Collector"
  say "building the Collector $collector_version (about 3 minutes) ..."
  work=$(mktemp -d)
  GOBIN=$work/bin go install "go.opentelemetry.io/collector/cmd/builder@v$collector_version"
  cp "$root/collector-config/builder.yaml" "$work/builder.yaml"
  (cd "$work" && bin/builder --config builder.yaml --skip-compilation >&2 && cd build && go build -p 2 -trimpath -ldflags "-s -w" -o "$work/otelcol" .)
  install_binary "$work/otelcol" "$collector"
}

build_jaeger() {
  require_go "Jaeger"
  say "building Jaeger v2 from module $jaeger_version (about 5 minutes) ..."
  work=$(mktemp -d)
  # Its go.mod has a replace directive, so `go install module@version` refuses: copy the module out and build there.
  local source
  source=$(cd "$work" && go mod download -json "github.com/jaegertracing/jaeger@v$jaeger_version" | sed -n 's/.*"Dir": "\(.*\)",*/\1/p')
  cp -r "$source" "$work/jaeger" && chmod -R u+w "$work/jaeger"
  (cd "$work/jaeger" && go build -p 2 -trimpath -o "$work/jaeger.bin" \
    -ldflags "-s -w -X github.com/jaegertracing/jaeger/internal/version.latestVersion=v$jaeger_version" ./cmd/jaeger)
  install_binary "$work/jaeger.bin" "$jaeger"
}

# $1 -> $2 in one step, so that nobody ever runs half a file; the temporary directory may be on another disk.
install_binary() {
  mv "$1" "$2.part.$$" && mv "$2.part.$$" "$2"
  chmod -R u+w "$work"; rm -rf "$work"; work=
}

if ! collector_ok || ! jaeger_ok; then
  mkdir -p "$cache"
  export CGO_ENABLED=0 GOFLAGS="-buildvcs=false"
  if command -v flock >/dev/null; then
    exec 9>"$cache/.lock"
    flock -n 9 || { say "another run is building into $cache; waiting for it ..."; flock 9; }
  fi
  collector_ok || build_collector
  jaeger_ok || build_jaeger
  collector_ok || { say "$collector does not say it is version $collector_version; remove it and run 'make e2e-tools' again"; exit 5; }
  jaeger_ok || { say "$jaeger does not say it is version v$jaeger_version; remove it and run 'make e2e-tools' again"; exit 5; }
fi
print_paths
