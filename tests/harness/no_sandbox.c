/* Lets the part of OpenSSH 9.2's sshd that talks to strangers live under valgrind and AddressSanitizer: it may open
 * files, and no filter kills it for the calls that they make. For tests alone, by LD_PRELOAD. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdarg.h>
#include <sys/prctl.h>
#include <sys/resource.h>

typedef int limit_call(__rlimit_resource_t what, const void *limit);

static int set_limit(const char *name, __rlimit_resource_t what, const void *limit, unsigned long long hard) {
  return hard <= 1 ? 0 : ((limit_call *)dlsym(RTLD_NEXT, name))(what, limit);
}

int setrlimit(__rlimit_resource_t what, const struct rlimit *limit) {
  return set_limit("setrlimit", what, limit, limit->rlim_max);
}

int setrlimit64(__rlimit_resource_t what, const struct rlimit64 *limit) {
  return set_limit("setrlimit64", what, limit, limit->rlim_max);
}

int prctl(int option, ...) {
  unsigned long rest[4];
  va_list arguments;
  va_start(arguments, option);
  for (int i = 0; i < 4; i++) rest[i] = va_arg(arguments, unsigned long);
  va_end(arguments);
  if (option == PR_SET_SECCOMP) return 0;
  return ((int (*)(int, ...))dlsym(RTLD_NEXT, "prctl"))(option, rest[0], rest[1], rest[2], rest[3]);
}
