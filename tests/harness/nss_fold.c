/* A name service that takes an account's name in any case, with or without a domain, as those behind a directory do. It
 * answers with the account's own name. What it knows is in /etc/passwd and /etc/shadow. */
#define _GNU_SOURCE
#include <ctype.h>
#include <errno.h>
#include <nss.h>
#include <pwd.h>
#include <shadow.h>
#include <stdio.h>
#include <string.h>

static int is_same(const char *typed, const char *name) {
  const char *domain = strrchr(typed, '\\');
  if (domain) typed = domain + 1;
  size_t length = strcspn(typed, "@");
  return length == strlen(name) && !strncasecmp(typed, name, length);
}

enum nss_status _nss_fold_getpwnam_r(const char *name, struct passwd *entry, char *buffer, size_t size, int *error) {
  struct passwd *found;
  FILE *file = fopen("/etc/passwd", "re");
  if (!file) return NSS_STATUS_UNAVAIL;
  while (!(*error = fgetpwent_r(file, entry, buffer, size, &found)) && !is_same(name, entry->pw_name)) continue;
  fclose(file);
  return !*error ? NSS_STATUS_SUCCESS : *error == ERANGE ? NSS_STATUS_TRYAGAIN : NSS_STATUS_NOTFOUND;
}

enum nss_status _nss_fold_getspnam_r(const char *name, struct spwd *entry, char *buffer, size_t size, int *error) {
  struct spwd *found;
  FILE *file = fopen("/etc/shadow", "re");
  if (!file) return NSS_STATUS_UNAVAIL;
  while (!(*error = fgetspent_r(file, entry, buffer, size, &found)) && !is_same(name, entry->sp_namp)) continue;
  fclose(file);
  return !*error ? NSS_STATUS_SUCCESS : *error == ERANGE ? NSS_STATUS_TRYAGAIN : NSS_STATUS_NOTFOUND;
}
