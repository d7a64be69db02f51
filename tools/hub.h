/* Models by their name on the Hugging Face Hub, found in its cache on disk;
 * nothing is ever fetched.  The cache's layout:
 * https://huggingface.co/docs/huggingface_hub/guides/manage-cache */
#ifndef QN_TOOLS_HUB_H
#define QN_TOOLS_HUB_H

#include "formats/base/error.h"

/* ORG/NAME[@REVISION][/FILE] to the place in the cache, allocated (qn_free);
 * *path is NULL when `given` exists as a path or is no such name.  The cache is
 * $HF_HUB_CACHE, $HUGGINGFACE_HUB_CACHE, $HF_HOME/hub, $XDG_CACHE_HOME/huggingface/hub
 * or ~/.cache/huggingface/hub, the first that is set.
 * QN_ERR_ARGUMENT when it is such a name and the cache does not have it. */
qn_status qn_hub_resolve(const char *given, char **path, qn_error *err);

#endif
