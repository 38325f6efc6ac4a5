# syntax=docker/dockerfile:1
# One image for web, worker, beat and storage service; docker-compose.yml has their commands.

FROM python:3.12-slim AS packages
WORKDIR /build
COPY README.md pyproject.toml constraints.txt ./
# Installs the project's dependencies; the project itself has no packages to install.
RUN python -m venv /opt/venv \
    && /opt/venv/bin/pip install --no-cache-dir -c constraints.txt .

FROM python:3.12-slim
ENV PATH=/opt/venv/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    VIEWERHUB_DATA_DIR=/data \
    VIEWERHUB_IMAGE_CACHE_DIR=/images \
    VIEWERHUB_PRODUCTION=true
RUN useradd --system --uid 10001 --home-dir /data --create-home viewerhub \
    && install --directory --owner=viewerhub --mode=0700 /images
COPY --from=packages /opt/venv /opt/venv
WORKDIR /app
COPY . .
# Collecting static files asks the settings for nothing that is secret or lasts.
RUN SECRET_KEY=only-while-the-image-is-built-000000 \
    VIEWERHUB_ENCRYPTION_KEYS=only-while-the-image-is-built-000000 \
    ALLOWED_HOSTS=localhost DATABASE_URL=sqlite:////tmp/none \
    VIEWERHUB_PUBLIC_URL=http://localhost VIEWERHUB_REDIS_URL=redis://localhost \
    python manage.py collectstatic --noinput
USER viewerhub
EXPOSE 8000
# Not uvicorn's access log: it has query strings, and those have patient IDs.
CMD ["uvicorn", "viewerhub.asgi:application", "--host", "0.0.0.0", "--port", "8000", \
     "--lifespan", "off", "--no-access-log", "--no-server-header", \
     "--timeout-graceful-shutdown", "30"]
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s --retries=3 \
    CMD ["python", "-c", "from http.client import HTTPConnection as C; c = C('127.0.0.1', 8000, timeout=4); c.request('GET', '/livez'); exit(c.getresponse().status != 200)"]
