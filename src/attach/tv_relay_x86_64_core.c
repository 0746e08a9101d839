/*
 * tv_relay_x86_64_core.c
 *	  Jumps from the program to what is too far away for a near one, on x86-64.
 *
 * A page begins with the addresses of all its relays' destinations, so that
 * those which every statement passes share a cache line.  Code follows:
 *
 *	relay:		jmp *address
 *	trampoline: endbr64  <moved instructions>  jmp back
 *
 * Nothing here uses or changes a register.
 */
#include "attach/tv_relay.h"

#include <string.h>

#include "attach/tv_memory.h"
#include "attach/tv_x86_64.h"

#define ADDRESSES 64			/* relays in a page, at most */
#define CODE_ALIGN 32			/* most relays with their trampolines are no longer */
#define CODE_MAX 64
#define INDIRECT_JUMP_SIZE 6	/* jmp *disp32(%rip) */
#define NEAR_JUMP_SIZE 5		/* jmp rel32 */

static const unsigned char endbr64[] = {0xF3, 0x0F, 0x1E, 0xFA};

/* The page with room; one that is full stays where it is. */
static unsigned char *page = NULL;
static size_t n_addresses = 0;
static size_t code_used = 0;

static bool
reaches(const unsigned char *target)
{
	int32_t		displacement;

	return page != NULL && tv_x86_displacement(target, page, &displacement) &&
		tv_x86_displacement(target, page + tv_memory_page_size(), &displacement) &&
		tv_x86_displacement(page, target, &displacement) &&
		tv_x86_displacement(page + tv_memory_page_size(), target, &displacement);
}

/* See to it that the page at hand has room and is near target. */
static TvStatus
find_room(const unsigned char *target, TvError *err)
{
	if (reaches(target) && n_addresses < ADDRESSES && code_used + CODE_MAX <= tv_memory_page_size())
		return TV_OK;
	page = tv_memory_page_near(target);
	if (page == NULL)
		return tv_error(err, TV_ERR_NO_MEMORY, "could not allocate a page near the server's code");
	memset(page, TV_X86_INT3, tv_memory_page_size());
	n_addresses = 0;
	code_used = ADDRESSES * sizeof(uint64_t);
	return tv_memory_page_seal(page, err);
}

/* Write the opcode and the displacement of an instruction that ends behind both. */
static bool
emit_relative(unsigned char *out, size_t at, const unsigned char *opcode, size_t nopcode,
			  const unsigned char *code, const void *where)
{
	int32_t		displacement;

	memcpy(out + at, opcode, nopcode);
	if (!tv_x86_displacement(code + at + nopcode + sizeof(displacement), where, &displacement))
		return false;
	memcpy(out + at + nopcode, &displacement, sizeof(displacement));
	return true;
}

TvStatus
tv_relay_make(const unsigned char *target, size_t size, bool moved,
			  const void *destination, TvRelay *relay, TvError *err)
{
	static const unsigned char jump_indirect[] = {0xFF, 0x25};
	static const unsigned char jump_near[] = {0xE9};
	uint64_t	address = (uintptr_t) destination;
	unsigned char bytes[CODE_MAX];
	unsigned char *code;
	unsigned char *slot;
	size_t		used = INDIRECT_JUMP_SIZE;
	bool		good;
	TvStatus	status;

	if (INDIRECT_JUMP_SIZE + sizeof(endbr64) + size + NEAR_JUMP_SIZE > CODE_MAX)
		return tv_error(err, TV_ERR_INVALID_ARGUMENT, "%zu bytes of code are too many to be moved", size);
	status = find_room(target, err);
	if (status != TV_OK)
		return status;
	code = page + code_used;
	slot = page + n_addresses * sizeof(address);
	good = emit_relative(bytes, 0, jump_indirect, sizeof(jump_indirect), code, slot);
	relay->entry = code;
	relay->trampoline = NULL;
	if (moved)
	{
		relay->trampoline = code + used;
		memcpy(bytes + used, endbr64, sizeof(endbr64));
		used += sizeof(endbr64);
		memcpy(bytes + used, target, size);
		used += size;
		good = good && emit_relative(bytes, used, jump_near, sizeof(jump_near), code, target + size);
		used += NEAR_JUMP_SIZE;
	}
	if (!good)
		return tv_error(err, TV_ERR_INTERNAL, "a relay is out of reach");
	n_addresses++;
	code_used += (used + CODE_ALIGN - 1) / CODE_ALIGN * CODE_ALIGN;
	status = tv_memory_patch(slot, &address, sizeof(address), err);
	if (status == TV_OK)
		status = tv_memory_patch(code, bytes, used, err);
	return status;
}
