# syntax=docker/dockerfile:1
# Three images for docker-compose.yml: the service, and the published Collector and Jaeger with a data directory their user may write to
# (a named volume takes its owner from the image, and theirs have no such directory).

FROM python:3.13-slim AS build
WORKDIR /src
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY src ./src
RUN python -m venv /opt/headwater \
 && /opt/headwater/bin/pip install --no-cache-dir --disable-pip-version-check -c constraints.txt '.[service]'

FROM busybox:1.37-musl AS directories
RUN mkdir -p /data/headwater /data/otelcol/queue /data/jaeger && chmod -R 0700 /data

FROM otel/opentelemetry-collector-contrib:0.155.0 AS otelcol
COPY --from=directories /bin/busybox /busybox
COPY --from=directories --chown=10001:10001 /data/otelcol /var/lib/otelcol
USER 10001:10001

FROM jaegertracing/jaeger:2.20.0 AS jaeger
COPY --from=directories --chown=10001:10001 /data/jaeger /var/lib/jaeger
USER 10001:10001

FROM python:3.13-slim AS headwater
COPY --from=build /opt/headwater /opt/headwater
COPY --from=directories --chown=10001:10001 /data/headwater /var/lib/headwater
# Compiled kernels are kept in /tmp, the one place a read-only container may write beside its store.
ENV PATH=/opt/headwater/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    NUMBA_CACHE_DIR=/tmp/numba \
    HEADWATER_STORE=/var/lib/headwater
USER 10001:10001
VOLUME /var/lib/headwater
EXPOSE 8417 4317 4318
ENTRYPOINT ["headwater"]
# Anything but loopback is refused without HEADWATER_ALLOW_OPEN_BIND=1: there is no authentication yet. docker-compose.yml sets it,
# inside its own network, and publishes the port on 127.0.0.1 only.
CMD ["serve", "--host", "0.0.0.0"]
