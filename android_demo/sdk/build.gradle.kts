plugins {
    id("com.android.library")
    id("org.jetbrains.kotlin.android")
}

/**
 * The native runner, where its libraries are named; else the simulated one, which learns nothing.
 *
 * executorch: folder of ExecuTorch's headers and its Android library. vcpkg: its checkout, which
 * builds what the runner takes from a system elsewhere (core/vcpkg.json).
 */
fun runnerArguments(): List<String> {
    val executorch = providers.gradleProperty("executorch").orNull
    val vcpkg = providers.gradleProperty("vcpkg").orNull
    if (executorch == null || vcpkg == null) return listOf("-DDSA_SIMULATED=ON")
    val ndk = android.ndkDirectory
    return listOf(
        "-DEXECUTORCH_ROOT=$executorch",
        "-DCMAKE_TOOLCHAIN_FILE=$vcpkg/scripts/buildsystems/vcpkg.cmake",
        "-DVCPKG_CHAINLOAD_TOOLCHAIN_FILE=$ndk/build/cmake/android.toolchain.cmake",
    )
}

android {
    namespace = "dev.dsaedge.android"
    compileSdk = 35
    ndkVersion = "28.0.13004108" // 16 KB pages by default; r27 would need a flag

    defaultConfig {
        minSdk = 26
        consumerProguardFiles("consumer-rules.pro")
        ndk { abiFilters += listOf("arm64-v8a", "x86_64") }
        externalNativeBuild {
            cmake {
                targets += listOf("dsaedge", "dsa_runner_shared") // the latter only with the runner
                arguments += listOf(
                    "-DANDROID_STL=c++_shared",
                    "-DANDROID_SUPPORT_FLEXIBLE_PAGE_SIZES=ON",
                ) + runnerArguments()
            }
        }
    }
    externalNativeBuild {
        cmake {
            path = file("../core/CMakeLists.txt")
            version = "3.24.0+"
        }
    }
    // One library for apps: core/ is plain Java and knows no Android.
    sourceSets["main"].java.srcDir("../core/src/main/java")
    // ExecuTorch's library goes along, under the name that its SONAME says.
    providers.gradleProperty("executorch").orNull?.let {
        sourceSets["main"].jniLibs.srcDir("$it/lib")
    }

    compileOptions {
        sourceCompatibility = JavaVersion.VERSION_1_8
        targetCompatibility = JavaVersion.VERSION_1_8
    }
    kotlinOptions { jvmTarget = "1.8" }
    packaging { jniLibs.useLegacyPackaging = false } // mapped from the APK, on 16 KB
}

dependencies {
    api("androidx.work:work-runtime-ktx:2.9.1")
    api("org.jetbrains.kotlinx:kotlinx-coroutines-android:1.9.0")
}
