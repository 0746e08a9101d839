/*
 * provider_softhsm.h
 *	  A real SoftHSM token for tests, in a directory that the test makes and
 *	  removes.  Without SoftHSM the tests fail: they never skip.
 */
#ifndef PROVIDER_SOFTHSM_H
#define PROVIDER_SOFTHSM_H

#include <dirent.h>
#include <dlfcn.h>
#include <fcntl.h>
#include <p11-kit-1/p11-kit/pkcs11.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/tv_secret.h"
#include "base/tv_status.h"
#include "provider/tv_provider.h"
#include "unit.h"

#ifndef SOFTHSM_MODULE
#define SOFTHSM_MODULE "/usr/lib/softhsm/libsofthsm2.so"
#endif

#define HSM_PIN "73519406"
#define HSM_SO_PIN "90417355"

static char hsm_dir[64];		/* everything is in here */

__attribute__((unused))
static bool
write_file(const char *path, const void *data, size_t len, mode_t mode)
{
	int			fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
	bool		good = fd >= 0 && write(fd, data, len) == (ssize_t) len &&
		fchmod(fd, mode) == 0;

	if (fd >= 0)
		close(fd);
	return good;
}

__attribute__((unused, format(printf, 1, 2)))
static int
shell(const char *fmt,...)
{
	char		command[2048];
	va_list		args;
	int			rc;

	va_start(args, fmt);
	vsnprintf(command, sizeof(command), fmt, args);
	va_end(args);
	rc = system(command);
	return WIFEXITED(rc) ? WEXITSTATUS(rc) : -1;
}

static void
hsm_write_pin(const char *pin, mode_t mode)
{
	char		path[128];

	snprintf(path, sizeof(path), "%s/pin", hsm_dir);
	unlink(path);
	if (!write_file(path, pin, strlen(pin), mode))
		abort();
}

__attribute__((unused))
static bool
hsm_init_token(const char *label)
{
	return shell("softhsm2-util --init-token --free --label '%s' --pin %s "
				 "--so-pin %s >%s/log 2>&1", label, HSM_PIN, HSM_SO_PIN,
				 hsm_dir) == 0;
}

/* A directory, SoftHSM's configuration, one token "alpha" and a PIN file. */
static void
hsm_start(void)
{
	char		path[128];
	char		conf[256];

	snprintf(hsm_dir, sizeof(hsm_dir), "/tmp/tv_hsm_XXXXXX");
	if (mkdtemp(hsm_dir) == NULL)
		abort();
	snprintf(path, sizeof(path), "%s/tokens", hsm_dir);
	mkdir(path, 0700);
	snprintf(path, sizeof(path), "%s/conf", hsm_dir);
	snprintf(conf, sizeof(conf), "directories.tokendir = %s/tokens\n"
			 "objectstore.backend = file\nlog.level = ERROR\n", hsm_dir);
	write_file(path, conf, strlen(conf), 0600);
	setenv("SOFTHSM2_CONF", path, 1);
	hsm_write_pin(HSM_PIN "\n", 0600);
	if (!ok(access(SOFTHSM_MODULE, R_OK) == 0, "SoftHSM is installed") ||
		!ok(hsm_init_token("alpha"), "softhsm2-util makes a token"))
		exit(unit_done());
}

static void
hsm_stop(void)
{
	shell("rm -rf '%s'", hsm_dir);
}

/* URI of a token with the PIN file; in a static buffer. */
static const char *
hsm_uri(const char *token)
{
	static char uri[512];

	snprintf(uri, sizeof(uri),
			 "pkcs11:token=%s?module-path=%s&pin-source=file:%s/pin",
			 token, SOFTHSM_MODULE, hsm_dir);
	return uri;
}

/*
 * Run fn in a child that uses the module directly, logged in at the token.
 * The module must not be open in this process.
 */
__attribute__((unused))
static bool
hsm_direct(const char *token, bool (*fn) (CK_FUNCTION_LIST *, CK_SESSION_HANDLE,
										 const char *), const char *label)
{
	pid_t		pid = fork();
	int			rc = 0;

	if (pid == 0)
	{
		void	   *lib = dlopen(SOFTHSM_MODULE, RTLD_NOW);
		CK_C_GetFunctionList get;
		CK_FUNCTION_LIST *api;
		CK_SLOT_ID	slots[16];
		CK_ULONG	n = 16;
		bool		good = false;

		*(void **) &get = dlsym(lib, "C_GetFunctionList");
		get(&api);
		if (api->C_Initialize(NULL) == CKR_CRYPTOKI_ALREADY_INITIALIZED)
		{
			api->C_Finalize(NULL);
			api->C_Initialize(NULL);
		}
		api->C_GetSlotList(CK_TRUE, slots, &n);
		for (CK_ULONG i = 0; i < n; i++)
		{
			CK_TOKEN_INFO info;
			CK_SESSION_HANDLE s;

			api->C_GetTokenInfo(slots[i], &info);
			if (memcmp(info.label, token, strlen(token)) != 0)
				continue;
			good = api->C_OpenSession(slots[i], CKF_SERIAL_SESSION |
									  CKF_RW_SESSION, NULL, NULL, &s) == CKR_OK &&
				api->C_Login(s, CKU_USER, (CK_UTF8CHAR *) HSM_PIN,
							 strlen(HSM_PIN)) == CKR_OK && fn(api, s, label);
		}
		api->C_Finalize(NULL);
		_exit(good ? 0 : 1);
	}
	waitpid(pid, &rc, 0);
	return WIFEXITED(rc) && WEXITSTATUS(rc) == 0;
}

static bool
hsm_generate(CK_FUNCTION_LIST *api, CK_SESSION_HANDLE s, const char *label,
			 CK_ULONG len, CK_BBOOL extractable, CK_BBOOL private)
{
	CK_BBOOL	yes = CK_TRUE;
	CK_MECHANISM mech = {CKM_AES_KEY_GEN, NULL, 0};
	CK_OBJECT_HANDLE key;
	CK_ATTRIBUTE t[] = {
		{CKA_LABEL, (void *) label, strlen(label)},
		{CKA_VALUE_LEN, &len, sizeof(len)},
		{CKA_TOKEN, &yes, 1},
		{CKA_PRIVATE, &private, 1},
		{CKA_SENSITIVE, &yes, 1},
		{CKA_EXTRACTABLE, &extractable, 1},
		{CKA_ENCRYPT, &yes, 1},
		{CKA_DECRYPT, &yes, 1},
	};

	return api->C_GenerateKey(s, &mech, t, sizeof(t) / sizeof(t[0]), &key) ==
		CKR_OK;
}

__attribute__((unused))
static bool
hsm_make_extractable(CK_FUNCTION_LIST *api, CK_SESSION_HANDLE s, const char *label)
{
	return hsm_generate(api, s, label, 32, CK_TRUE, CK_TRUE);
}

__attribute__((unused))
static bool
hsm_make_short(CK_FUNCTION_LIST *api, CK_SESSION_HANDLE s, const char *label)
{
	return hsm_generate(api, s, label, 16, CK_FALSE, CK_TRUE);
}

__attribute__((unused))
static bool
hsm_make_public(CK_FUNCTION_LIST *api, CK_SESSION_HANDLE s, const char *label)
{
	return hsm_generate(api, s, label, 32, CK_FALSE, CK_FALSE);
}

__attribute__((unused))
static bool
hsm_make_good(CK_FUNCTION_LIST *api, CK_SESSION_HANDLE s, const char *label)
{
	return hsm_generate(api, s, label, 32, CK_FALSE, CK_TRUE);
}

/* Restored from a backup: sensitive and not extractable, but imported. */
__attribute__((unused))
static bool
hsm_import(CK_FUNCTION_LIST *api, CK_SESSION_HANDLE s, const char *label)
{
	CK_BBOOL	yes = CK_TRUE;
	CK_BBOOL	no = CK_FALSE;
	CK_OBJECT_CLASS class = CKO_SECRET_KEY;
	CK_KEY_TYPE type = CKK_AES;
	CK_BYTE		value[32] = {1, 2, 3};
	CK_OBJECT_HANDLE key;
	CK_ATTRIBUTE t[] = {
		{CKA_CLASS, &class, sizeof(class)},
		{CKA_KEY_TYPE, &type, sizeof(type)},
		{CKA_VALUE, value, sizeof(value)},
		{CKA_LABEL, (void *) label, strlen(label)},
		{CKA_TOKEN, &yes, 1},
		{CKA_PRIVATE, &yes, 1},
		{CKA_SENSITIVE, &yes, 1},
		{CKA_EXTRACTABLE, &no, 1},
		{CKA_ENCRYPT, &yes, 1},
		{CKA_DECRYPT, &yes, 1},
	};

	return api->C_CreateObject(s, t, sizeof(t) / sizeof(t[0]), &key) == CKR_OK;
}

/* Destroy every key of that label. */
__attribute__((unused))
static bool
hsm_destroy(CK_FUNCTION_LIST *api, CK_SESSION_HANDLE s, const char *label)
{
	CK_ATTRIBUTE t[] = {{CKA_LABEL, (void *) label, strlen(label)}};
	CK_OBJECT_HANDLE keys[8];
	CK_ULONG	n = 0;

	if (api->C_FindObjectsInit(s, t, 1) != CKR_OK ||
		api->C_FindObjects(s, keys, 8, &n) != CKR_OK)
		return false;
	api->C_FindObjectsFinal(s);
	for (CK_ULONG i = 0; i < n; i++)
		if (api->C_DestroyObject(s, keys[i]) != CKR_OK)
			return false;
	return n > 0;
}

/* Count the keys of that label: succeeds for exactly one. */
__attribute__((unused))
static bool
hsm_exactly_one(CK_FUNCTION_LIST *api, CK_SESSION_HANDLE s, const char *label)
{
	CK_ATTRIBUTE t[] = {{CKA_LABEL, (void *) label, strlen(label)}};
	CK_OBJECT_HANDLE keys[8];
	CK_ULONG	n = 0;

	api->C_FindObjectsInit(s, t, 1);
	api->C_FindObjects(s, keys, 8, &n);
	return n == 1;
}

__attribute__((unused))
static double
now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double) ts.tv_sec * 1e3 + (double) ts.tv_nsec / 1e6;
}

/* Does a check on status; prints what the error said. */
__attribute__((unused))
static void
ok_status(TvStatus got, TvStatus want, const TvError *err, const char *what)
{
	if (!ok(got == want, "%s", what) || got != TV_OK)
		printf("# status %d: %s\n#   detail: %s\n#   hint: %s\n", (int) got,
			   err->message, err->detail, err->hint);
}

#endif							/* PROVIDER_SOFTHSM_H */
