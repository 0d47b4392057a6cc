/* The stack of a thread that waits. With a thread for each connection, stacks are a third of what
 * an idle one takes: the opening handshake has gone deeper than waiting for messages does, and
 * what was used once stays. So the pages below are given back before the thread waits for the
 * first time, and after each control frame, which Python code deals with. That takes some 2 us; a
 * page that is needed again is there again, empty, at its first use. It saves 4 KiB of 31.
 *
 * Green threads (greenlet) take turns on one stack. Whichever runs has had copied away what others
 * have below it, so nothing of theirs is lost. */

#include "stack.h"

/* AddressSanitizer keeps an eye on what stacks have had. */
#ifdef __has_feature
#define IS_WATCHED __has_feature(address_sanitizer)
#elif defined(__SANITIZE_ADDRESS__)
#define IS_WATCHED 1
#else
#define IS_WATCHED 0
#endif

#if defined(__linux__) && defined(HAVE_DIRECT_IO) && !IS_WATCHED

#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Bytes below this function's frame that may be in use: its own, and the system call's. */
#define IN_USE 1024

/* Pages that are given back: what lies deeper was hardly ever used. */
#define DEEPEST ((uintptr_t)1 << 17)

/* Not inlined, so that this is its own frame, below those of its callers. */
__attribute__((noinline)) static void
trim_stack(void)
{
    if (getpid() == (pid_t)syscall(SYS_gettid)) { /* the stack of the process grows by itself */
        return;
    }
    pthread_attr_t attributes;
    void *lowest = NULL;
    size_t size;
    if (pthread_getattr_np(pthread_self(), &attributes) != 0) {
        return;
    }
    int unknown = pthread_attr_getstack(&attributes, &lowest, &size);
    pthread_attr_destroy(&attributes);
    uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);
    uintptr_t here = (uintptr_t)__builtin_frame_address(0);
    uintptr_t first = (uintptr_t)lowest, end = (here - IN_USE) & ~(page - 1);
    if (unknown || here < first || here - first > size) { /* a stack of the program's own */
        return;
    }
    if (end > first + DEEPEST) {
        first = end - DEEPEST;
    }
    if (first < end) {
        madvise((void *)first, end - first, MADV_DONTNEED);
    }
}

#else

static void
trim_stack(void)
{
}

#endif
