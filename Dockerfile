# rtbroker on Debian, built from this tree:
#
#   docker build -t rtbroker --build-arg COMMIT=$(git rev-parse --short=12 HEAD) .
#   docker run --rm -p 8000:8000 rtbroker --dev --listen '*:8000' --set http.insecure_public=true
#
# Configuration: /etc/rtbroker/rtbroker.yaml, or RTBROKER_* variables. Data: /var/lib/rtbroker. compose.yaml has a whole cluster.
ARG DEBIAN=bookworm-slim

FROM debian:${DEBIAN} AS build
WORKDIR /src
COPY scripts/install-deps.sh scripts/
RUN scripts/install-deps.sh build && rm -rf /var/lib/apt/lists/*
COPY . .
ARG COMMIT=unknown
ENV RT_COMMIT=$COMMIT
RUN make && make install DESTDIR=/out PREFIX=/usr && strip /out/usr/bin/rtbroker
# The packages of the libraries that the program names.
RUN objdump -p /out/usr/bin/rtbroker | awk '$1 == "NEEDED" {print "*/" $2}' | xargs dpkg-query -S | \
    cut -d : -f 1 | sort -u >/out/packages

FROM debian:${DEBIAN}
COPY --from=build /out/packages /usr/share/rtbroker/packages
RUN apt-get update && xargs apt-get install -y --no-install-recommends </usr/share/rtbroker/packages && \
    rm -rf /var/lib/apt/lists/* /var/cache/apt/* /var/log/* && \
    groupadd --system --gid 10001 rtbroker && \
    useradd --system --uid 10001 --gid rtbroker --home-dir /var/lib/rtbroker --shell /usr/sbin/nologin rtbroker && \
    install -d -o rtbroker -g rtbroker /var/lib/rtbroker /run/rtbroker
COPY --from=build /out/etc/rtbroker /etc/rtbroker
COPY --from=build /out/usr/bin/rtbroker /usr/bin/
USER rtbroker
WORKDIR /var/lib/rtbroker
VOLUME /var/lib/rtbroker
EXPOSE 8000
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=40s CMD ["rtbroker", "health"]
ENTRYPOINT ["rtbroker"]
CMD ["--config", "/etc/rtbroker/rtbroker.yaml"]
