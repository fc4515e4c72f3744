/* The text of a configuration, read into a tree: the whole input, in which NULs are refused and not cut off at.
 *
 * Reading either fails with errors, or gives a tree. The same text is read the same way twice. */
#include <stdint.h>
#include <stdlib.h>

#include "conf/node.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(bool holds)
{
    if (!holds)
        abort();
}

/* How many nodes the tree has; 0 for one that was refused. */
static size_t count_nodes(const struct rt_node *node)
{
    size_t count = 1;
    for (size_t i = 0; i < node->count; i++)
        count += count_nodes(node->items[i]);
    return count;
}

static size_t read_text(struct rt_str text)
{
    char *const environ_[] = {"A=value", "B=", NULL};
    struct rt_conf_errors errors = {0};
    struct rt_node *root = NULL;
    int status = rt_node_parse(text, "f", environ_, &root, &errors);
    check((status == 0) == (errors.count == 0 && root != NULL));
    for (size_t i = 0; i < errors.count; i++)
        check(errors.items[i].text[0] != '\0');
    size_t count = root != NULL ? count_nodes(root) : 0;
    rt_node_free(root);
    rt_conf_errors_deinit(&errors);
    return count;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct rt_str text = rt_str_of(data, size);
    check(read_text(text) == read_text(text));
    return 0;
}
