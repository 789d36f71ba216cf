/*
 * crew - several threads that work on one stack of tasks, where a task may add others.
 *
 * The stack is taken from its top, so a walk of a tree goes down before it goes on, and never has
 * more waiting than a page for each level.
 *
 * Threads   crew_run() by the owner; crew_push() by the tasks
 * Blocking  crew_run() until nothing is left to do
 */
#ifndef FS_VFS_CREW_H
#define FS_VFS_CREW_H

#include "fs/vfs/tree.h"

struct crew;

/* The head of whatever a task is. */
struct crew_task {
    struct crew_task *next;
};

/* Do one task, which is the callee's from now on. The first failure ends the walk. */
typedef enum rc (*crew_work)(struct crew *crew, struct crew_task *task, struct err *e);
/* Free a task that nobody will do. */
typedef void (*crew_drop)(struct crew_task *task);

/*
 * Do first and everything that comes of it. RC_CANCELLED when the watch says so. first is the
 * crew's in any case.
 */
MUST_CHECK enum rc crew_run(struct tree_watch *watch, crew_work work, crew_drop drop, void *arg,
                            struct crew_task *first, struct err *e);
void crew_push(struct crew *crew, struct crew_task *task);
void *crew_arg(struct crew *crew);
/* Run change under the lock that all tasks of the crew share; true: *task is then pushed. */
void crew_push_if(struct crew *crew, bool (*change)(struct crew_task *task),
                  struct crew_task *task);

#endif
