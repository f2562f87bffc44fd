// What the pack's scripts share of their talk with the server.

import { api } from "../../scripts/api.js"

// Sent by nodes/comfy_host/node_text.py: {prompt, node, slot, text}.
export const NODE_MESSAGE = "domain_guidance.node_message"

export async function read(path) {
    const answer = await api.fetchApi(path)
    return answer.ok ? answer.json() : {}
}
