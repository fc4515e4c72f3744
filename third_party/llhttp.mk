# llhttp, from what the distribution ships. Sets LLHTTP_CFLAGS, LLHTTP_LIBS and LLHTTP_OBJS, and has the rules for the last.
#
# Debian 13: libllhttp-dev, a shared library with a pkg-config file (9.x is always strict).
# Debian 12: node-llhttp, C sources of 8.1. LLHTTP_STRICT_MODE=1 is needed: the default accepts `X:\rTransfer-Encoding: chunked`
# as a header of its own, which smuggles requests past a proxy. The header reads the macro too, so whoever includes it gets it.

LLHTTP_SOURCE ?= /usr/share/llhttp
LLHTTP_INCLUDE ?= /usr/share/include/llhttp

ifeq ($(shell pkg-config --exists libllhttp 2>/dev/null && echo yes),yes)
LLHTTP_CFLAGS := $(shell pkg-config --cflags libllhttp)
LLHTTP_LIBS := $(shell pkg-config --libs libllhttp)
LLHTTP_OBJS :=
else
LLHTTP_CFLAGS := -DLLHTTP_STRICT_MODE=1 -isystem $(LLHTTP_INCLUDE)
LLHTTP_LIBS :=
LLHTTP_OBJS := $(addprefix $(B)/third_party/llhttp/,api.o http.o llhttp.o)
endif

# Generated code: its warnings are not ours to fix.
$(B)/third_party/llhttp/%.o: $(LLHTTP_SOURCE)/%.c $(B)/.flags
	$(Q)mkdir -p $(@D)
	$(call say,CC,llhttp/$(notdir $<))
	$(Q)$(CC) $(LLHTTP_CFLAGS) $(RT_CFLAGS) $(CFLAGS) -w -MMD -MP -c -o $@ $<
