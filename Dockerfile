# One image, a command per dataflow: `docker run waxmark run personalization`, `docker run waxmark collect`.
# `make image` builds it; BASE may be any image with Python 3.11 and venv.
ARG BASE=docker.io/library/python:3.11-slim-bookworm@sha256:a36c24f9cbdf4fd0f52d67f0823eeac19c2028c637cecc392d97f980d4fec56b

FROM ${BASE} AS build
WORKDIR /src
RUN python3 -m venv /build && python3 -m venv --without-pip /opt/waxmark
COPY requirements-build.lock requirements-image.lock ./
# The secrets are optional: pip's settings and certificates, where packages come through a mirror of one's own.
RUN --mount=type=secret,id=pip,target=/etc/pip.conf \
    --mount=type=secret,id=certificates,target=/run/secrets/certificates.pem \
    /build/bin/pip install --no-cache-dir --require-hashes -r requirements-build.lock && \
    /build/bin/pip --python /opt/waxmark/bin/python install --no-cache-dir --require-hashes -r requirements-image.lock
COPY . .
RUN /build/bin/pip wheel --no-cache-dir --no-deps --no-index --no-build-isolation --wheel-dir /dist . && \
    /build/bin/pip --python /opt/waxmark/bin/python install --no-cache-dir --no-deps --no-index /dist/*.whl

FROM ${BASE}
LABEL org.opencontainers.image.title="Waxmark" org.opencontainers.image.licenses="Apache-2.0"
# useradd is not in every slim base. The folder is where recovery files go; all else may be read-only.
RUN echo 'waxmark:x:10001:10001::/var/lib/waxmark:/usr/sbin/nologin' >> /etc/passwd && \
    echo 'waxmark:x:10001:' >> /etc/group && \
    install --directory --owner=10001 --group=10001 /var/lib/waxmark
COPY --from=build /opt/waxmark /opt/waxmark
# Metrics and health are served inside the container alone, until WAXMARK_METRICS_HOST opens them to others.
ENV PATH="/opt/waxmark/bin:${PATH}" \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    WAXMARK_METRICS_PORT=9464 \
    WAXMARK_RECOVERY=/var/lib/waxmark/recovery
USER 10001:10001
WORKDIR /var/lib/waxmark
VOLUME ["/var/lib/waxmark"]
EXPOSE 8080 8090 9464
# A worker answers on the first port, the collector on the second, content on the third.
HEALTHCHECK --interval=15s --timeout=5s --start-period=60s --retries=3 \
    CMD ["python", "-m", "connectors.probe", "http://127.0.0.1:9464/healthz", "http://127.0.0.1:8080/healthz", \
         "http://127.0.0.1:8090/healthz"]
# An init as process 1 hands signals on and reaps what the supervised workers leave behind.
ENTRYPOINT ["dumb-init", "--single-child", "--", "waxmark"]
CMD ["--help"]
