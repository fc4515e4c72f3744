/* Runs a fuzz target over stored inputs, in TAP: fuzz_NAME FILE... or fuzz_NAME DIR...
 *
 * Stands in for libFuzzer's main so that `make test` needs no clang. Every input is given whole, then cut short at up to
 * 64 places, since parsers fail at ends; each in a block of exactly its size, so that ASan sees a read past it. */
#include <dirent.h>
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
/* Optional, as in libFuzzer. */
__attribute__((weak)) int LLVMFuzzerInitialize(int *argc, char ***argv);

enum { CUTS = 64, INPUT_CAP = 1 << 20 };

struct paths {
    char **items;
    size_t count;
};

static void die(const char *what, const char *path)
{
    fprintf(stderr, "replay: %s: %s: %s\n", path, what, strerror(errno));
    exit(2);
}

static void add_path(struct paths *paths, const char *dir, const char *name)
{
    size_t size = strlen(dir) + strlen(name) + 2;
    char *path = malloc(size);
    char **items = realloc(paths->items, (paths->count + 1) * sizeof(*items));
    if (path == NULL || items == NULL)
        die("out of memory", dir);
    snprintf(path, size, "%s%s%s", dir, *name == '\0' ? "" : "/", name);
    items[paths->count++] = path;
    paths->items = items;
}

static int is_visible(const struct dirent *entry)
{
    return entry->d_name[0] != '.';
}

static void add_dir(struct paths *paths, const char *dir)
{
    struct dirent **entries = NULL;
    int n = scandir(dir, &entries, is_visible, alphasort);
    if (n < 0)
        die("cannot list", dir);
    for (int i = 0; i < n; i++) {
        add_path(paths, dir, entries[i]->d_name);
        free(entries[i]);
    }
    free(entries);
}

static uint8_t *read_file(const char *path, size_t *ret_len)
{
    FILE *file = fopen(path, "rb");
    uint8_t *data = malloc(INPUT_CAP);
    if (file == NULL || data == NULL)
        die("cannot open", path);
    *ret_len = fread(data, 1, INPUT_CAP, file);
    if (ferror(file))
        die("cannot read", path);
    fclose(file);
    return data;
}

static void run_exact(const uint8_t *data, size_t len)
{
    uint8_t *copy = malloc(len > 0 ? len : 1);
    if (copy == NULL)
        die("out of memory", "input");
    memcpy(copy, data, len);
    LLVMFuzzerTestOneInput(copy, len);
    free(copy);
}

static void run_file(const char *path)
{
    size_t len;
    uint8_t *data = read_file(path, &len);
    size_t step = len / CUTS + 1;
    run_exact(data, len);
    for (size_t cut = 0; cut < len; cut += step)
        run_exact(data, cut);
    free(data);
}

int main(int argc, char **argv)
{
    struct paths paths = {NULL, 0};
    struct stat st;
    if (LLVMFuzzerInitialize != NULL)
        LLVMFuzzerInitialize(&argc, &argv);
    for (int i = 1; i < argc; i++) {
        if (stat(argv[i], &st) != 0)
            die("cannot find", argv[i]);
        if (S_ISDIR(st.st_mode))
            add_dir(&paths, argv[i]);
        else
            add_path(&paths, argv[i], "");
    }
    printf("1..%zu\n", paths.count);
    for (size_t i = 0; i < paths.count; i++) {
        printf("# %s\n", paths.items[i]);
        fflush(stdout);
        run_file(paths.items[i]);
        printf("ok %zu - %s\n", i + 1, paths.items[i]);
        free(paths.items[i]);
    }
    free(paths.items);
    return 0;
}
