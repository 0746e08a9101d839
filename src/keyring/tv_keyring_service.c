/*
 * tv_keyring_service.c
 *	  Keys of the module's own services: the audit log, the vault's policy.
 *
 * Such a key is a table key of no database, with a file record that stands
 * for the service, so that it is wrapped, logged, loaded and kept like any.
 */
#include "keyring/tv_keyring_internal.h"

#include "access/xlog.h"
#include "miscadmin.h"

#include "base/tv_shmem.h"

/* The file record that stands for the service; no relation has tablespace 0. */
static RelFileNode
service_node(TvKeyringService service)
{
	RelFileNode node = {InvalidOid, InvalidOid, (Oid) service};

	return node;
}

bool
tv_keyring_find_service(TvKeyringService service, uint64 *key)
{
	RelFileNode node = service_node(service);
	TvKeyringFile file;

	if (!tv_keyring_lookup(&node, &file))
		return false;
	*key = file.key;
	return true;
}

/* Make the key; another process may be faster, then its key is the one. */
static TvStatus
make_service(TvKeyringService service, uint64 fallback, uint64 *key, TvError *err)
{
	LWLock	   *lock = tv_shmem_lock(TV_LOCK_KEYRING_SERVICE);
	RelFileNode node = service_node(service);
	TvKeyringMaster master;
	TvCipher	cipher;
	TvStatus	status;

	/* the cluster's master key or, if it has none, fallback or this database's */
	if (fallback == 0 && OidIsValid(MyDatabaseId) && tv_keyring_master_for(MyDatabaseId, &master))
		fallback = master.id;
	status = tv_keyring_key_for_table(InvalidOid, (Oid) service, TV_CIPHER_AES_256_GCM,
									  fallback, key, &cipher, err);
	if (status != TV_OK)
		return status;
	LWLockAcquire(lock, LW_EXCLUSIVE);
	if (!tv_keyring_find_service(service, key))
	{
		status = tv_keyring_assign(&node, *key, cipher, TV_FILE_SEALED, err);
		if (status == TV_OK)
			status = tv_keyring_flush(err);
	}
	LWLockRelease(lock);
	return status;
}

TvStatus
tv_keyring_service_key(TvKeyringService service, uint64 fallback, uint64 *key, TvError *err)
{
	RelFileNode node = service_node(service);
	TvStatus	status;

	if (!tv_keyring_find_service(service, key))
	{
		if (RecoveryInProgress())
		{
			(void) tv_error(err, TV_ERR_NO_KEY, "the keyring holds no key for this yet");
			tv_error_hint(err, "A standby gets it from its primary, which makes it when it is first needed.");
			return TV_ERR_NO_KEY;
		}
		status = make_service(service, fallback, key, err);
		if (status != TV_OK)
			return status;
	}
	return tv_keyring_verify_file(&node, err);
}
