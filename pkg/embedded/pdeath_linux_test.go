package embedded

const diesWithParent = true
