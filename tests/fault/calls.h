/* SPDX-License-Identifier: MIT
 *
 * What the library asks of libc that can be refused, and with which errors a kernel or an allocator may refuse it: a line for each,
 * CALL(name, what a refused one returns, is it done all the same, errors). Only errors that are true at any time: one that says of
 * what is there that it is not, or of who lives that he is gone, would be a lie, and no kernel tells it.
 * tests/house/calls.sh looks whether one is missing.
 *
 * What goes through syscall(2) has lines of its own, by its number: KERNEL(name, number, errors).
 */
#ifndef TESTS_FAULT_CALLS_H
#define TESTS_FAULT_CALLS_H

/* A refused call returns -1, or NULL, with errno; or the error itself. */
enum { FAULT_MINUS, FAULT_NULL, FAULT_CODE };

#define FAULT_CALLS(CALL)                                                                                              \
    CALL(accept4, FAULT_MINUS, false, EMFILE, ENFILE, ENOBUFS, ENOMEM, ECONNABORTED, EINTR)                            \
    CALL(aligned_alloc, FAULT_NULL, false, ENOMEM)                                                                     \
    CALL(bind, FAULT_MINUS, false, EACCES, EADDRINUSE, ENOMEM)                                                         \
    CALL(calloc, FAULT_NULL, false, ENOMEM)                                                                            \
    CALL(chmod, FAULT_MINUS, false, EPERM)                                                                             \
    CALL(close, FAULT_MINUS, true, EINTR, EIO)                                                                         \
    CALL(connect, FAULT_MINUS, false, ECONNREFUSED, EACCES, EADDRNOTAVAIL, EINTR)                                      \
    CALL(dup2, FAULT_MINUS, false, EMFILE, EINTR)                                                                      \
    CALL(dup3, FAULT_MINUS, false, EMFILE, EINTR)                                                                      \
    CALL(epoll_create1, FAULT_MINUS, false, EMFILE, ENOMEM)                                                            \
    CALL(epoll_ctl, FAULT_MINUS, false, ENOSPC, ENOMEM)                                                                \
    CALL(epoll_wait, FAULT_MINUS, false, EINTR)                                                                        \
    CALL(eventfd, FAULT_MINUS, false, EMFILE, ENOMEM)                                                                  \
    CALL(eventfd_read, FAULT_MINUS, false, EAGAIN, EINTR)                                                              \
    CALL(eventfd_write, FAULT_MINUS, false, EINTR)                                                                     \
    CALL(faccessat, FAULT_MINUS, false, EACCES, ENOMEM)                                                                \
    CALL(fallocate, FAULT_MINUS, false, ENOSPC, EINTR, EOPNOTSUPP)                                                     \
    CALL(fchmod, FAULT_MINUS, false, EPERM, EROFS)                                                                     \
    CALL(fchmodat, FAULT_MINUS, false, EPERM)                                                                          \
    CALL(fchown, FAULT_MINUS, false, EPERM)                                                                            \
    CALL(fcntl, FAULT_MINUS, false, ENOLCK, EINTR, EMFILE, EPERM)                                                      \
    CALL(fdopendir, FAULT_NULL, false, ENOMEM)                                                                         \
    CALL(flock, FAULT_MINUS, false, ENOLCK, EINTR)                                                                     \
    CALL(fopen, FAULT_NULL, false, EMFILE, ENOMEM)                                                                     \
    CALL(fstat, FAULT_MINUS, false, EIO)                                                                               \
    CALL(fstatat, FAULT_MINUS, false, EACCES, ENOMEM)                                                                  \
    CALL(ftruncate, FAULT_MINUS, false, EFBIG, EIO, EINTR)                                                             \
    CALL(getaddrinfo, FAULT_CODE, false, EAI_AGAIN, EAI_MEMORY)                                                        \
    CALL(getpeername, FAULT_MINUS, false, ENOBUFS)                                                                     \
    CALL(getrandom, FAULT_MINUS, false, ENOSYS, EINTR)                                                                 \
    CALL(getsockname, FAULT_MINUS, false, ENOBUFS)                                                                     \
    CALL(getsockopt, FAULT_MINUS, false, ENOPROTOOPT, ENOMEM)                                                          \
    CALL(if_nametoindex, FAULT_NULL, false, ENODEV)                                                                    \
    CALL(ioctl, FAULT_MINUS, false, ENOTTY)                                                                            \
    CALL(linkat, FAULT_MINUS, false, ENOSPC, EPERM)                                                                    \
    CALL(listen, FAULT_MINUS, false, EADDRINUSE)                                                                       \
    CALL(lseek, FAULT_MINUS, false, EINVAL)                                                                            \
    CALL(lstat, FAULT_MINUS, false, EACCES)                                                                            \
    CALL(madvise, FAULT_MINUS, false, ENOMEM, EINVAL)                                                                  \
    CALL(malloc, FAULT_NULL, false, ENOMEM)                                                                            \
    CALL(memfd_create, FAULT_MINUS, false, EMFILE, ENOMEM)                                                             \
    CALL(mincore, FAULT_MINUS, false, ENOMEM)                                                                          \
    CALL(mkdir, FAULT_MINUS, false, ENOSPC, EACCES)                                                                    \
    CALL(mkdirat, FAULT_MINUS, false, ENOSPC, EACCES)                                                                  \
    CALL(mkfifo, FAULT_MINUS, false, ENOSPC, EACCES)                                                                   \
    CALL(mkfifoat, FAULT_MINUS, false, ENOSPC, EACCES)                                                                 \
    CALL(mlockall, FAULT_MINUS, false, ENOMEM, EPERM)                                                                  \
    CALL(mmap, FAULT_MINUS, false, ENOMEM, EACCES, EAGAIN)                                                             \
    CALL(mprotect, FAULT_MINUS, false, ENOMEM)                                                                         \
    CALL(mq_getattr, FAULT_MINUS, false, EBADF)                                                                        \
    CALL(mq_open, FAULT_MINUS, false, EMFILE, ENOSPC, ENOMEM, EACCES)                                                  \
    CALL(mq_timedreceive, FAULT_MINUS, false, EAGAIN, EINTR, ETIMEDOUT)                                                \
    CALL(mq_timedsend, FAULT_MINUS, false, EAGAIN, EINTR, ENOMEM)                                                      \
    CALL(mq_unlink, FAULT_MINUS, false, EACCES)                                                                        \
    CALL(msgctl, FAULT_MINUS, false, EPERM)                                                                            \
    CALL(msgget, FAULT_MINUS, false, ENOSPC, ENOMEM, EACCES)                                                           \
    CALL(msgrcv, FAULT_MINUS, false, ENOMSG, EINTR, EIDRM)                                                             \
    CALL(msgsnd, FAULT_MINUS, false, EAGAIN, EINTR, ENOMEM, EIDRM)                                                     \
    CALL(munlock, FAULT_MINUS, false, ENOMEM)                                                                          \
    CALL(munmap, FAULT_MINUS, true, ENOMEM)                                                                            \
    CALL(nanosleep, FAULT_MINUS, true, EINTR)                                                                          \
    CALL(open, FAULT_MINUS, false, EMFILE, ENFILE, EINTR, ENOMEM)                                                      \
    CALL(openat, FAULT_MINUS, false, EMFILE, ENFILE, ENOSPC, ENOMEM, EINTR)                                            \
    CALL(opendir, FAULT_NULL, false, EMFILE, ENOMEM, EACCES)                                                           \
    CALL(pipe2, FAULT_MINUS, false, EMFILE, ENFILE)                                                                    \
    CALL(poll, FAULT_MINUS, false, EINTR, ENOMEM)                                                                      \
    CALL(ppoll, FAULT_MINUS, false, EINTR, ENOMEM)                                                                     \
    CALL(pread, FAULT_MINUS, false, EIO, EINTR)                                                                        \
    CALL(preadv2, FAULT_MINUS, false, EAGAIN, EINTR, EOPNOTSUPP)                                                       \
    CALL(process_vm_readv, FAULT_MINUS, false, EPERM)                                                                  \
    CALL(pthread_getattr_np, FAULT_CODE, false, ENOMEM)                                                                \
    CALL(pthread_key_create, FAULT_CODE, false, EAGAIN, ENOMEM)                                                        \
    CALL(pthread_mutex_init, FAULT_CODE, false, EAGAIN, ENOMEM)                                                        \
    CALL(pthread_setspecific, FAULT_CODE, false, ENOMEM)                                                               \
    CALL(pwrite, FAULT_MINUS, false, ENOSPC, EINTR, EIO)                                                               \
    CALL(pwritev2, FAULT_MINUS, false, EAGAIN, EINTR, EOPNOTSUPP)                                                      \
    CALL(read, FAULT_MINUS, false, EAGAIN, EINTR, EIO)                                                                 \
    CALL(readlink, FAULT_MINUS, false, EACCES)                                                                         \
    CALL(readv, FAULT_MINUS, false, EAGAIN, EINTR, EIO)                                                                \
    CALL(realloc, FAULT_NULL, false, ENOMEM)                                                                           \
    CALL(recv, FAULT_MINUS, false, EAGAIN, EINTR, ECONNRESET, ENOMEM)                                                  \
    CALL(recvmmsg, FAULT_MINUS, false, EAGAIN, EINTR, ENOMEM)                                                          \
    CALL(recvmsg, FAULT_MINUS, false, EAGAIN, EINTR, ECONNRESET, ENOMEM)                                               \
    CALL(renameat, FAULT_MINUS, false, ENOSPC, EACCES)                                                                 \
    CALL(sched_getaffinity, FAULT_MINUS, false, EINVAL)                                                                \
    CALL(sched_getcpu, FAULT_MINUS, false, ENOSYS)                                                                     \
    CALL(sched_getparam, FAULT_MINUS, false, EINVAL)                                                                   \
    CALL(sched_getscheduler, FAULT_MINUS, false, EINVAL)                                                               \
    CALL(sched_setaffinity, FAULT_MINUS, false, EPERM)                                                                 \
    CALL(sched_setscheduler, FAULT_MINUS, false, EPERM)                                                                \
    CALL(send, FAULT_MINUS, false, EAGAIN, EINTR, ECONNRESET, EPIPE, ENOBUFS)                                          \
    CALL(sendmsg, FAULT_MINUS, false, EAGAIN, EINTR, ECONNRESET, EPIPE, ENOBUFS)                                       \
    CALL(setsockopt, FAULT_MINUS, false, ENOPROTOOPT, EPERM, ENOMEM)                                                   \
    CALL(shm_open, FAULT_MINUS, false, EMFILE, EACCES)                                                                 \
    CALL(shm_unlink, FAULT_MINUS, false, EACCES)                                                                       \
    CALL(shmat, FAULT_MINUS, false, ENOMEM)                                                                            \
    CALL(shmctl, FAULT_MINUS, false, EPERM)                                                                            \
    CALL(shmdt, FAULT_MINUS, true, EINVAL)                                                                             \
    CALL(shmget, FAULT_MINUS, false, ENOSPC, ENOMEM)                                                                   \
    CALL(shutdown, FAULT_MINUS, false, ENOTCONN)                                                                       \
    CALL(signalfd, FAULT_MINUS, false, EMFILE, ENOMEM)                                                                 \
    CALL(sigtimedwait, FAULT_MINUS, false, EAGAIN, EINTR)                                                              \
    CALL(socket, FAULT_MINUS, false, EMFILE, ENOBUFS, EACCES)                                                          \
    CALL(stat, FAULT_MINUS, false, EACCES)                                                                             \
    CALL(timerfd_create, FAULT_MINUS, false, EMFILE, ENOMEM)                                                           \
    CALL(unlink, FAULT_MINUS, false, EACCES)                                                                           \
    CALL(unlinkat, FAULT_MINUS, false, EACCES)                                                                         \
    CALL(write, FAULT_MINUS, false, EINTR, ENOSPC)                                                                     \
    CALL(writev, FAULT_MINUS, false, EAGAIN, EINTR)

#define FAULT_KERNEL(KERNEL)                                                                                           \
    KERNEL(futex, SYS_futex, EAGAIN, EINTR)                                                                            \
    KERNEL(futex_waitv, SYS_futex_waitv, ENOSYS, EAGAIN, EINTR)                                                        \
    KERNEL(mbind, SYS_mbind, ENOSYS, EPERM)                                                                            \
    KERNEL(membarrier, SYS_membarrier, ENOSYS, EPERM, ENOMEM)                                                          \
    KERNEL(pidfd_open, SYS_pidfd_open, EMFILE, ENOSYS)                                                                 \
    KERNEL(pidfd_send_signal, SYS_pidfd_send_signal, EAGAIN, ENOSYS, EPERM)                                            \
    KERNEL(rt_sigqueueinfo, SYS_rt_sigqueueinfo, EAGAIN, EPERM)                                                        \
    KERNEL(rt_tgsigqueueinfo, SYS_rt_tgsigqueueinfo, EAGAIN, EPERM)

#endif
