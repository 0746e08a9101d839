/*
 * tv_x86_64_core.c
 *	  Reading and writing x86-64 instructions.
 */
#include "attach/tv_x86_64.h"

#include <string.h>

bool
tv_x86_decode(const unsigned char *at, size_t size,
			  ZydisDecodedInstruction *insn)
{
	ZydisDecoder decoder;

	return ZYAN_SUCCESS(ZydisDecoderInit(&decoder, ZYDIS_MACHINE_MODE_LONG_64,
										 ZYDIS_STACK_WIDTH_64)) &&
		ZYAN_SUCCESS(ZydisDecoderDecodeInstruction(&decoder, NULL, at, size,
												   insn));
}

size_t
tv_x86_emit_far_jump(unsigned char *at, const void *destination)
{
	static const unsigned char opcode[] = {0xFF, 0x25, 0, 0, 0, 0};
	uint64_t	address = (uintptr_t) destination;

	memcpy(at, opcode, sizeof(opcode));
	memcpy(at + sizeof(opcode), &address, sizeof(address));
	return TV_X86_FAR_JUMP_SIZE;
}

bool
tv_x86_displacement(const void *end, const void *destination,
					int32_t *displacement)
{
	int64_t		distance = (int64_t) ((uintptr_t) destination - (uintptr_t) end);

	*displacement = (int32_t) distance;
	return *displacement == distance;
}
