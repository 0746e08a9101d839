/*
 * tv_provider_file.c
 *	  file:/path, a master key in a file: 64 hexadecimal characters or 32 raw
 *	  bytes.
 */
#include <string.h>

#include "base/tv_secret.h"
#include "provider/tv_provider_driver.h"

static TvStatus
file_check(const char *rest, TvError *err)
{
	const char *path;

	return tv_provider_check_path("key file", rest, &path, err);
}

/*
 * Only hexadecimal digits?  32 random bytes never are; 32 digits are half a
 * key, which must not pass for a raw one.
 */
static bool
all_hex(const TvSecretFile *file)
{
	return strspn((const char *) file->data,
				  "0123456789abcdefABCDEF") == file->len;
}

/*
 * 32 bytes are a raw key; everything else must be hexadecimal.
 */
static TvStatus
decode_key(TvSecretFile *file, const char *path, const void *context,
		   uint8_t *key, TvError *err)
{
	TvStatus	status;

	(void) context;
	if (file->len == TV_KEY_LEN && !all_hex(file))
	{
		memcpy(key, file->data, TV_KEY_LEN);
		return TV_OK;
	}
	tv_provider_chomp(file);
	status = tv_provider_decode_hex((const char *) file->data, file->len,
									key, err);
	if (status != TV_OK)
	{
		tv_error_detail(err, "Key file \"%s\" must hold 64 hexadecimal characters, with or without a newline at the end, or exactly 32 raw bytes.",
						path);
		tv_error_hint(err, "If keys are in use, restore the file from its backup. For a first key: openssl rand -hex 32.");
	}
	return status;
}

static TvStatus
file_open(const TvProviderRequest *req, TvProvider **provider, TvError *err)
{
	return tv_provider_local_open_file(&tv_provider_file_driver, "key file",
									   req->rest, decode_key, NULL, provider,
									   err);
}

const TvProviderDriver tv_provider_file_driver = {
	.scheme = "file",
	.check = file_check,
	.open = file_open,
	.wrap = tv_provider_local_wrap,
	.unwrap = tv_provider_local_unwrap,
	.close = tv_provider_local_close,
};
