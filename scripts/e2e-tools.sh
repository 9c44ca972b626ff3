#!/usr/bin/env bash
# Builds the real OpenTelemetry Collector and Jaeger v2 from their Go modules into a cache outside the checkout.
# Prints the two paths. A second run finds the binaries and builds nothing.
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
cache=${HEADWATER_E2E_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/headwater/e2e}
collector_version=0.155.0
jaeger_version=1.76.0   # the Go module tag that carries Jaeger v2's cmd/jaeger
collector=$cache/otelcol-$collector_version-$(sha256sum "$root/collector-config/builder.yaml" | cut -c1-12)
jaeger=$cache/jaeger-$jaeger_version

command -v go >/dev/null || { echo "e2e-tools: Go is not installed; the end-to-end tests will skip. Install Go 1.25+ and run 'make e2e-tools' again." >&2; exit 3; }
mkdir -p "$cache"
export CGO_ENABLED=0 GOFLAGS="-buildvcs=false"

if [ ! -x "$collector" ]; then
  echo "e2e-tools: building the Collector $collector_version (about 3 minutes) ..." >&2
  work=$(mktemp -d)
  GOBIN=$work/bin go install "go.opentelemetry.io/collector/cmd/builder@v$collector_version"
  cp "$root/collector-config/builder.yaml" "$work/builder.yaml"
  (cd "$work" && bin/builder --config builder.yaml --skip-compilation >&2 && cd build && go build -p 2 -trimpath -ldflags "-s -w" -o "$collector.part" . )
  mv "$collector.part" "$collector"
  rm -rf "$work"
fi
if [ ! -x "$jaeger" ]; then
  echo "e2e-tools: building Jaeger v2 from module $jaeger_version (about 5 minutes) ..." >&2
  work=$(mktemp -d)
  # Its go.mod has a replace directive, so `go install module@version` refuses: copy the module out and build there.
  source=$(cd "$work" && go mod download -json "github.com/jaegertracing/jaeger@v$jaeger_version" | sed -n 's/.*"Dir": "\(.*\)",*/\1/p')
  cp -r "$source" "$work/jaeger" && chmod -R u+w "$work/jaeger"
  (cd "$work/jaeger" && go build -p 2 -trimpath -ldflags "-s -w" -o "$jaeger.part" ./cmd/jaeger)
  mv "$jaeger.part" "$jaeger"
  rm -rf "$work"
fi
printf 'HEADWATER_OTELCOL=%s\nHEADWATER_JAEGER=%s\n' "$collector" "$jaeger"
