# The page with the REST API:  docker build -t snapshelf . && docker run --rm -p 7860:7860 snapshelf
# Not yet built anywhere: written on a machine without a Docker engine. What it runs was tried step by step in a virtual
# environment. Python 3.11 is the version that the test suite runs on; why at least 3.11.14: docs/supply_chain.md.
FROM python:3.11-slim
WORKDIR /srv/snapshelf
COPY locks/server.txt ./
RUN pip install --no-cache-dir --require-hashes -r server.txt && useradd --create-home --uid 10001 shelf
COPY app ./app
USER shelf
ENV PYTHONUNBUFFERED=1 GRADIO_ANALYTICS_ENABLED=False
EXPOSE 7860
HEALTHCHECK --interval=30s --timeout=5s --start-period=30s \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:7860/healthz', timeout=4)"]
CMD ["python", "-m", "app.server", "--host", "0.0.0.0", "--port", "7860"]
