# docker build -t pinpip .
# One image for the gateway, the consumers and every other command.
ARG PYTHON=3.11

FROM python:${PYTHON}-slim-bookworm AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PIP_NO_CACHE_DIR=1
WORKDIR /src
# Everything that is locked is fetched and checked against its hash; of that, the second step
# installs what the product needs, and no index can slip in anything else.
COPY requirements.lock ./
RUN pip download --quiet --require-hashes --no-deps --dest /wheels --requirement requirements.lock
COPY . ./
ARG EXTRAS=msk
RUN python -m venv /opt/pinpip \
    && /opt/pinpip/bin/pip install --quiet --no-index --find-links /wheels ".[${EXTRAS}]"

FROM python:${PYTHON}-slim-bookworm
RUN groupadd --gid 10001 pinpip \
    && useradd --uid 10001 --gid pinpip --create-home --home-dir /var/lib/pinpip pinpip
COPY --from=build /opt/pinpip /opt/pinpip
COPY deploy/config/config.yaml /etc/pinpip/config.yaml
ENV PATH=/opt/pinpip/bin:$PATH \
    PINPIP_CONFIG=/etc/pinpip/config.yaml \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1
USER 10001:10001
WORKDIR /var/lib/pinpip
# 8082: the gateway; 9108: a consumer's page, with --metrics-port 9108; 8090: `pinpip ui`.
EXPOSE 8082 9108 8090
# The gateway's; compose file, Kubernetes and ECS give consumers their own, /live or /ready on 9108.
HEALTHCHECK --interval=10s --timeout=5s --start-period=20s \
    CMD ["python", "-c", "import urllib.request as r; r.urlopen('http://127.0.0.1:8082/health', timeout=4)"]
ENTRYPOINT ["pinpip"]
CMD ["gateway"]
