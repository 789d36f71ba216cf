/*
 * verbs - the verbs of `tarn` that are built in; the others are programs beside it, found and
 * executed as git does.
 *
 * Each takes argv from its own name on, prints to stdout, puts one line on stderr when it fails and
 * answers the exit code (fs/base/conf.h).
 *
 * Threads   main
 */
#ifndef FS_CLI_VERBS_H
#define FS_CLI_VERBS_H

int command_umount(int argc, char **argv);
int command_info(int argc, char **argv);
int command_status(int argc, char **argv);
int command_rmr(int argc, char **argv);
int command_clone(int argc, char **argv);
int command_summary(int argc, char **argv);
int command_warmup(int argc, char **argv);
int command_compact(int argc, char **argv);
int command_stats(int argc, char **argv);
int command_quota(int argc, char **argv);
int command_config(int argc, char **argv);
int command_dump(int argc, char **argv);
int command_load(int argc, char **argv);
int command_restore(int argc, char **argv);
int command_bench(int argc, char **argv);
int command_fsck(int argc, char **argv);
int command_gc(int argc, char **argv);

#endif
