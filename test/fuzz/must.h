/* What the fuzz targets share: their entry, and a check that ends the program, which libFuzzer and replay.c report as a finding. */
#ifndef RT_TEST_FUZZ_MUST_H
#define RT_TEST_FUZZ_MUST_H

#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#define MUST(what)   \
    do {             \
        if (!(what)) \
            abort(); \
    } while (0)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#endif
