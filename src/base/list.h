/* Intrusive doubly-linked ring. A node that is in no list points to itself, so that remove is
 * idempotent. Owner: whoever embeds the node. Thread: one at a time. */
#ifndef RT_BASE_LIST_H
#define RT_BASE_LIST_H

#include <stdbool.h>
#include <stddef.h>

struct rt_list {
    struct rt_list *prev, *next;
};

#define RT_CONTAINER(ptr, type, member) ((type *)(void *)((char *)(ptr)-offsetof(type, member)))
#define rt_list_for(it, head)           for (struct rt_list *it = (head)->next; it != (head); it = it->next)
/* Safe when the current node is removed or freed in the body. */
#define rt_list_for_safe(it, tmp, head) \
    for (struct rt_list *it = (head)->next, *tmp = it->next; it != (head); it = tmp, tmp = it->next)

static inline void rt_list_init(struct rt_list *l)
{
    l->prev = l->next = l;
}
static inline bool rt_list_empty(const struct rt_list *l)
{
    return l->next == l;
}
static inline void rt_list_push(struct rt_list *head, struct rt_list *node) /* at the end */
{
    node->prev = head->prev;
    node->next = head;
    head->prev->next = node;
    head->prev = node;
}
static inline void rt_list_push_front(struct rt_list *head, struct rt_list *node)
{
    rt_list_push(head->next, node);
}
static inline void rt_list_remove(struct rt_list *node)
{
    node->prev->next = node->next;
    node->next->prev = node->prev;
    node->prev = node->next = node;
}
/* The first node, removed; NULL when empty. */
static inline struct rt_list *rt_list_pop(struct rt_list *head)
{
    struct rt_list *first = head->next;
    if (first == head)
        return NULL;
    rt_list_remove(first);
    return first;
}
/* Moves all nodes of `from` to the end of `to`. */
static inline void rt_list_splice(struct rt_list *to, struct rt_list *from)
{
    if (rt_list_empty(from))
        return;
    from->next->prev = to->prev;
    to->prev->next = from->next;
    from->prev->next = to;
    to->prev = from->prev;
    rt_list_init(from);
}

#endif
