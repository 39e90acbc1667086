# getam serve with the embedded model: CPU, no root rights, nothing written but to /tmp.
FROM python:3.13-slim AS build
WORKDIR /source
RUN python -m venv /opt/getam
ENV PATH=/opt/getam/bin:$PATH
# Versions are those pyproject.toml allows. The CPU builds of torch are a fourth as large as those for GPUs: --build-arg TORCH_INDEX=URL names the index they are on.
ARG TORCH_INDEX=""
# hadolint ignore=DL3013
RUN pip install --no-cache-dir torch torchvision ${TORCH_INDEX:+--index-url "$TORCH_INDEX"}
COPY pyproject.toml README.md LICENSE ./
COPY src ./src
# hadolint ignore=DL3013
RUN pip install --no-cache-dir '.[serve]'

FROM python:3.13-slim
COPY --from=build /opt/getam /opt/getam
RUN useradd --no-create-home --uid 10001 --shell /usr/sbin/nologin getam
USER 10001
WORKDIR /tmp
ENV PATH=/opt/getam/bin:$PATH HOME=/tmp PYTHONDONTWRITEBYTECODE=1
EXPOSE 8000
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=30s --timeout=5s --start-period=60s CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8000/healthz', timeout=4)"]
ENTRYPOINT ["getam", "serve", "--host", "0.0.0.0", "--port", "8000"]
