# docker build --tag normfold .
# docker run --rm --volume "$PWD:/models" --user "$(id -u):$(id -g)" normfold optimize model.onnx
FROM python:3.12-slim
COPY . /src
RUN mkdir -m 1777 /cache && python -m pip install --no-cache-dir --disable-pip-version-check --constraint /src/.constraints.txt /src
ENV XDG_CACHE_HOME=/cache
WORKDIR /models
ENTRYPOINT ["normfold"]
CMD ["--help"]
