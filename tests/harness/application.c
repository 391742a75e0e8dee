/* A PAM application of the smallest kind, for what no ssh login can show: a thousand logins in one process, and a
 * login in which one allocation fails. Root is not needed.
 *
 * Usage: application CONFDIR USER auth|account|session ROUNDS [FAIL_AT]
 *
 * Like sshd it holds the socket of a client, which is itself, and tells PAM of it and of a key. Prints what the process
 * holds after a tenth of the rounds and after all of them, and how many allocations there were. With FAIL_AT that allocation fails, counted from the first one that libpam makes. Ends with 0 only if PAM
 * granted every round. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <security/pam_appl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

extern void *__libc_malloc(size_t size);
extern void *__libc_calloc(size_t count, size_t size);
extern void *__libc_realloc(void *old, size_t size);
extern void *__libc_memalign(size_t alignment, size_t size);

static long allocations, fail_at;
static int in_pam;

static int fails(void) {
  if (!in_pam || ++allocations != fail_at) return 0;
  errno = ENOMEM;
  return 1;
}

void *malloc(size_t size) { return fails() ? NULL : __libc_malloc(size); }
void *calloc(size_t count, size_t size) { return fails() ? NULL : __libc_calloc(count, size); }
void *realloc(void *old, size_t size) { return fails() ? NULL : __libc_realloc(old, size); }
void *aligned_alloc(size_t alignment, size_t size) { return fails() ? NULL : __libc_memalign(alignment, size); }
int posix_memalign(void **place, size_t alignment, size_t size) {
  if (fails()) return ENOMEM;
  *place = __libc_memalign(alignment, size);
  return *place ? 0 : ENOMEM;
}

/* libpam would tell the kernel's audit of each login, and refuse it if that failed. Here it finds no audit. */
int audit_open(void) {
  errno = EPROTONOSUPPORT;
  return -1;
}

static char connection[128] = "SSH_CONNECTION=";

/* Connects with itself and keeps both ends. */
static int connect_client(void) {
  struct sockaddr_in here = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)}, client;
  socklen_t size = sizeof here;
  int listener = socket(AF_INET, SOCK_STREAM, 0), outside = socket(AF_INET, SOCK_STREAM, 0);
  if (bind(listener, (struct sockaddr *)&here, size) || listen(listener, 1)) return 0;
  if (getsockname(listener, (struct sockaddr *)&here, &size)) return 0;
  if (connect(outside, (struct sockaddr *)&here, size)) return 0;
  if (accept(listener, (struct sockaddr *)&client, &size) < 0) return 0;
  sprintf(connection, "SSH_CONNECTION=127.0.0.1 %d 127.0.0.1 %d", ntohs(client.sin_port), ntohs(here.sin_port));
  return 1;
}

/* Shows nothing and answers nothing. */
static int converse(int count, const struct pam_message **messages, struct pam_response **answers, void *data) {
  (void)messages, (void)data;
  *answers = calloc((size_t)count, sizeof **answers);
  return *answers ? PAM_SUCCESS : PAM_BUF_ERR;
}

static int call(pam_handle_t *pam, const char *phase) {
  int told = pam_putenv(pam, connection);
  if (told == PAM_SUCCESS) told = pam_putenv(pam, "SSH_AUTH_INFO_0=publickey ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f");
  if (told != PAM_SUCCESS) return told;
  if (!strcmp(phase, "auth")) return pam_authenticate(pam, 0);
  if (!strcmp(phase, "account")) return pam_acct_mgmt(pam, 0);
  int code = pam_open_session(pam, 0);
  if (code == PAM_SUCCESS) pam_close_session(pam, 0);
  return code;
}

static int granted(const char *confdir, const char *user, const char *phase) {
  static const struct pam_conv conversation = {converse, NULL};
  pam_handle_t *pam = NULL;
  in_pam = 1;
  int code = pam_start_confdir("kbmfa", user, &conversation, confdir, &pam);
  if (code == PAM_SUCCESS) {
    code = call(pam, phase);
    pam_end(pam, code);
  }
  in_pam = 0;
  return code == PAM_SUCCESS;
}

static int entries(const char *path) {
  int count = 0;
  DIR *dir = opendir(path);
  while (dir && readdir(dir)) count++;
  if (dir) closedir(dir);
  return count;
}

static void tell(void) {
  char line[512];
  long resident = 0, mappings = 0;
  FILE *file = fopen("/proc/self/status", "r");
  while (file && fgets(line, sizeof line, file)) sscanf(line, "VmRSS: %ld", &resident);
  if (file) fclose(file);
  file = fopen("/proc/self/maps", "r");
  while (file && fgets(line, sizeof line, file)) mappings++;
  if (file) fclose(file);
  printf("held %ld %d %d %ld\n", resident, entries("/proc/self/fd"), entries("/proc/self/task"), mappings);
}

int main(int count, char **arguments) {
  if (count < 5 || !connect_client()) return 2;
  long rounds = atol(arguments[4]), round, let_in = 0;
  fail_at = count > 5 ? atol(arguments[5]) : 0;
  for (round = 1; round <= rounds; round++) {
    let_in += granted(arguments[1], arguments[2], arguments[3]);
    if (rounds >= 10 && (round == rounds / 10 || round == rounds)) tell();
  }
  printf("allocations %ld\ngranted %ld\n", allocations, let_in);
  fflush(stdout);
  return let_in == rounds ? 0 : 1;
}
