/*
 * tv_vault_policy_core.c
 *	  A policy in memory: its entries, and the memory they take.
 *
 * A policy owns a list of blocks and nothing else, so that releasing it is one
 * walk.  What is replaced stays until then: changes are few.
 */
#include "vault/tv_vault_format.h"

#include <stdlib.h>
#include <string.h>

#include "base/tv_secret.h"

#define BLOCK_SIZE 8192
#define ALIGNMENT 16

typedef struct TvPolicyBlock
{
	struct TvPolicyBlock *next;
	size_t		size;
	size_t		used;
	size_t		unused;			/* keeps data aligned */
	uint8_t		data[];
} TvPolicyBlock;

TvPolicy *
tv_policy_new(void)
{
	return calloc(1, sizeof(TvPolicy));
}

void
tv_policy_free(TvPolicy *policy)
{
	TvPolicyBlock *block;

	if (policy == NULL)
		return;
	while ((block = policy->memory) != NULL)
	{
		policy->memory = block->next;
		tv_secret_wipe(block->data, block->used);
		free(block);
	}
	tv_secret_wipe(policy, sizeof(*policy));
	free(policy);
}

void *
tv_policy_alloc(TvPolicy *policy, size_t size)
{
	TvPolicyBlock *block = policy->memory;
	void	   *result;

	size = (size + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
	if (block == NULL || block->size - block->used < size)
	{
		size_t		wanted = size > BLOCK_SIZE ? size : BLOCK_SIZE;

		block = calloc(1, sizeof(TvPolicyBlock) + wanted);
		if (block == NULL)
			return NULL;
		block->size = wanted;
		block->next = policy->memory;
		policy->memory = block;
	}
	result = block->data + block->used;
	block->used += size;
	return result;
}

char *
tv_policy_strdup(TvPolicy *policy, const char *text, bool *failed)
{
	size_t		len;
	char	   *copy;

	if (text == NULL)
		return NULL;
	len = strlen(text);
	copy = tv_policy_alloc(policy, len + 1);
	if (copy == NULL)
		*failed = true;
	else
		memcpy(copy, text, len);
	return copy;
}

/*
 * Room for one more entry, which is wiped.  which: the array's number among
 * those of a policy.
 */
static void *
add_entry(TvPolicy *policy, int which, void **array, uint32_t *n, size_t size)
{
	uint8_t    *entry;

	if (*n >= policy->capacity[which])
	{
		size_t		capacity = 8;
		void	   *larger;

		while (capacity <= *n)
			capacity *= 2;
		larger = tv_policy_alloc(policy, capacity * size);
		if (larger == NULL)
			return NULL;
		if (*n > 0)
			memcpy(larger, *array, *n * size);
		*array = larger;
		policy->capacity[which] = (uint32_t) capacity;
	}
	entry = (uint8_t *) *array + (*n)++ * size;
	memset(entry, 0, size);
	return entry;
}

static void
remove_entry(void *array, uint32_t *n, uint32_t i, size_t size)
{
	uint8_t    *entry = (uint8_t *) array + i * size;

	memmove(entry, entry + size, (*n - i - 1) * size);
	(*n)--;
	/* it may hold what checks a password */
	tv_secret_wipe((uint8_t *) array + *n * size, size);
}

#define ARRAY(number, type, name, array, count) type * tv_policy_add_##name(TvPolicy *policy) { 	return add_entry(policy, number, (void **) &policy->array, &policy->count, sizeof(type)); } void tv_policy_remove_##name(TvPolicy *policy, uint32_t i) { 	remove_entry(policy->array, &policy->count, i, sizeof(type)); }

ARRAY(0, TvRealm, realm, realms, n_realms)
ARRAY(1, TvRealmRole, role, roles, n_roles)
ARRAY(2, TvVaultPassword, password, passwords, n_passwords)
ARRAY(3, TvCommandRule, rule, rules, n_rules)

TvEmergency *
tv_policy_add_emergency(TvPolicy *policy)
{
	return add_entry(policy, 4, (void **) &policy->emergencies, &policy->n_emergencies,
					 sizeof(TvEmergency));
}

/* The place of the first object that is not before (oid, kind, realm). */
static uint32_t
object_place(const TvPolicy *policy, uint32_t oid, uint8_t kind, uint32_t realm)
{
	uint32_t	low = 0;
	uint32_t	high = policy->n_objects;

	while (low < high)
	{
		uint32_t	middle = low + (high - low) / 2;
		const TvRealmObject *object = &policy->objects[middle];

		if (object->oid < oid ||
			(object->oid == oid &&
			 (object->kind < kind || (object->kind == kind && object->realm < realm))))
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

TvRealmObject *
tv_policy_add_object(TvPolicy *policy, uint32_t oid, uint8_t kind, uint32_t realm)
{
	uint32_t	place = object_place(policy, oid, kind, realm);
	TvRealmObject *object;

	if (place < policy->n_objects && policy->objects[place].oid == oid &&
		policy->objects[place].kind == kind && policy->objects[place].realm == realm)
		return &policy->objects[place];
	if (add_entry(policy, 5, (void **) &policy->objects, &policy->n_objects,
				  sizeof(TvRealmObject)) == NULL)
		return NULL;
	object = &policy->objects[place];
	memmove(object + 1, object, (policy->n_objects - 1 - place) * sizeof(TvRealmObject));
	object->oid = oid;
	object->kind = kind;
	object->realm = realm;
	return object;
}

void
tv_policy_remove_object(TvPolicy *policy, uint32_t i)
{
	remove_entry(policy->objects, &policy->n_objects, i, sizeof(TvRealmObject));
}

uint32_t
tv_policy_find_object(const TvPolicy *policy, uint32_t oid, uint8_t kind)
{
	uint32_t	place = object_place(policy, oid, kind, 0);

	if (place < policy->n_objects && policy->objects[place].oid == oid &&
		policy->objects[place].kind == kind)
		return place;
	return policy->n_objects;
}

TvRealm *
tv_policy_realm(const TvPolicy *policy, const char *name)
{
	for (uint32_t i = 0; i < policy->n_realms; i++)
	{
		if (strcmp(policy->realms[i].name, name) == 0)
			return &policy->realms[i];
	}
	return NULL;
}

TvRealm *
tv_policy_realm_by_id(const TvPolicy *policy, uint32_t id)
{
	for (uint32_t i = 0; i < policy->n_realms; i++)
	{
		if (policy->realms[i].id == id)
			return &policy->realms[i];
	}
	return NULL;
}

TvCommandRule *
tv_policy_rule(const TvPolicy *policy, const char *name)
{
	for (uint32_t i = 0; i < policy->n_rules; i++)
	{
		if (strcmp(policy->rules[i].name, name) == 0)
			return &policy->rules[i];
	}
	return NULL;
}
