#include "cluster/mac.h"

#include <openssl/core_names.h>
#include <openssl/evp.h>

#include "base/alloc.h"
#include "base/err.h"

struct rt_mac {
    EVP_MAC *algorithm;
    EVP_MAC_CTX *context; /* holds the key; making it ready for the next message keeps it */
};

int rt_mac_new(struct rt_str secret, struct rt_mac **ret_mac)
{
    char digest[] = "SHA256";
    const OSSL_PARAM parameters[] = {
        OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, digest, 0),
        OSSL_PARAM_construct_end(),
    };
    struct rt_mac *mac = rt_calloc(1, sizeof(*mac));
    if (!mac)
        return RT_ENOMEM;
    mac->algorithm = EVP_MAC_fetch(NULL, "HMAC", NULL);
    mac->context = mac->algorithm ? EVP_MAC_CTX_new(mac->algorithm) : NULL;
    if (!mac->context || EVP_MAC_init(mac->context, (const unsigned char *)secret.ptr, secret.len,
                                      parameters) != 1) {
        rt_mac_free(mac);
        return RT_ENOMEM;
    }
    *ret_mac = mac;
    return 0;
}

void rt_mac_free(struct rt_mac *mac)
{
    if (!mac)
        return;
    EVP_MAC_CTX_free(mac->context);
    EVP_MAC_free(mac->algorithm);
    rt_free(mac);
}

bool rt_mac_make(struct rt_mac *mac, struct rt_str data, struct rt_str context,
                 uint8_t out[RT_MAC_LEN])
{
    size_t len = 0;
    return EVP_MAC_init(mac->context, NULL, 0, NULL) == 1 &&
           EVP_MAC_update(mac->context, (const unsigned char *)data.ptr, data.len) == 1 &&
           EVP_MAC_update(mac->context, (const unsigned char *)context.ptr, context.len) == 1 &&
           EVP_MAC_final(mac->context, out, &len, RT_MAC_LEN) == 1 && len == RT_MAC_LEN;
}
